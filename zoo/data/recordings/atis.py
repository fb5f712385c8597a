"""Recordings of the ATIS sensor and its successors: `.bin` and `.dat`.

.bin   x, y, then one bit of polarity and 23 of the time in us, five bytes in all; y = 240 says
       that the clock has run over by 2^13
.dat   lines that begin with %, then the type of the events and their size, one byte each, then
       four bytes of time in us and four of address, little-endian. In version 2 the address has
       14 bits of x, 14 of y and one of polarity, before that 9, 8 and one.
"""

from pathlib import Path

import numpy as np

from convsnn.errors import LoadError
from zoo.data.binning import Events

_CARRY, _CARRIED = 240, 2**13
_LINES = 100  # of a header, at most
_DAT = "give the file as its camera wrote it"


def read_bin(path: Path) -> Events:
    """See `read_recording`."""
    raw = np.fromfile(path, np.uint8).astype(np.int64)
    if len(raw) % 5:
        raise LoadError(
            f"{path}: {len(raw)} bytes are no events of five bytes",
            hint="the file is cut off; get it again",
        )
    x, y, high, middle, low = raw.reshape(-1, 5).T
    times = (high & 127) << 16 | middle << 8 | low
    carried = y == _CARRY  # no event: the clock of those behind it has run over
    times = times + np.cumsum(carried) * _CARRIED
    kept = ~carried
    return Events(times[kept], x[kept], y[kept], high[kept] >> 7)


def read_dat(path: Path) -> Events:
    """See `read_recording`."""
    raw = path.read_bytes()
    start = 0
    lines: list[str] = []
    while raw[start : start + 1] == b"%" and len(lines) < _LINES:
        end = raw.find(b"\n", start)
        if end < 0:
            raise LoadError(f"{path}: its header does not end", hint=_DAT)
        lines.append(raw[start + 1 : end].decode("latin-1").strip().lower())
        start = end + 1
    version = next((int(v) for line in lines if (v := _version(line)).isdigit()), 0)
    if lines:
        if len(raw) < start + 2 or raw[start + 1] != 8:
            raise LoadError(f"{path}: its header names no events of eight bytes", hint=_DAT)
        start += 2
    if (len(raw) - start) % 8:
        raise LoadError(
            f"{path}: {len(raw) - start} bytes are no events of eight bytes",
            hint="the file is cut off; get it again",
        )
    time, address = np.frombuffer(raw, "<u4", offset=start).astype(np.int64).reshape(-1, 2).T
    if version >= 2:
        return Events(time, address & 0x3FFF, address >> 14 & 0x3FFF, address >> 28 & 1)
    return Events(time, address & 0x1FF, address >> 9 & 0xFF, address >> 17 & 1)


def _version(line: str) -> str:
    name, _, value = line.partition(" ")
    return value.strip() if name == "version" else ""
