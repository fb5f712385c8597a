"""Recordings of the ATIS sensor and its successors: `.bin` and `.dat`.

.bin   x, y, then one bit of polarity and 23 of the time in us, five bytes in all; y = 240 says
       that the clock has run over by 2^13
.dat   lines that begin with %, then the type of the events and their size, one byte each, then
       four bytes of time in us and four of address, little-endian. In version 2 the address has
       14 bits of x, 14 of y and one of polarity, before that 9, 8 and one.
"""

from bisect import bisect_left
from pathlib import Path

import numpy as np

from convsnn.errors import LoadError
from zoo.data.binning import Events
from zoo.data.digest import Array

_CARRY, _CARRIED = 240, 2**13
_LINES, _HEAD = 100, 1 << 16  # lines and bytes of a header, at most
_EVENT = np.dtype([("t", "<u4"), ("place", "<u4")])
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
    start, version = _behind_header(path)
    return _events(np.fromfile(path, _EVENT, offset=start), version)


def read_dat_part(path: Path, first: int, last: int) -> Events:
    """The events of a .dat file from the time `first` on, before `last`, of which there may be
    none. They are found by halving, so that of a long recording little is read.

    LoadError where times do not rise, or for what is no .dat file.
    """
    rows, version = _mapped(path)
    begin, end = (
        bisect_left(range(len(rows)), bound, key=lambda row: int(rows["t"][row]))
        for bound in (first, last)
    )
    found = np.array(rows[begin:end])
    times = found["t"].astype(np.int64)
    if (np.diff(times) < 0).any() or (len(times) and not first <= times[0] <= times[-1] < last):
        raise LoadError(
            f"{path}: its times do not rise from {first} to {last}",
            hint="sort the events by their times; parts of a recording are found by them",
        )
    return _events(found, version)


def dat_ends(path: Path) -> int:
    """The time of the last event of a .dat file; LoadError where there is none."""
    rows, _ = _mapped(path)
    if not len(rows):
        raise LoadError(f"{path} holds no events", hint="leave empty recordings out")
    return int(rows["t"][-1])


def _mapped(path: Path) -> tuple[Array, int]:
    """The events of a file as they stand on disk, and its version."""
    start, version = _behind_header(path)
    if start == path.stat().st_size:
        return np.zeros(0, _EVENT), version
    return np.memmap(path, _EVENT, "r", start), version


def _events(rows: Array, version: int) -> Events:
    time, address = (rows[name].astype(np.int64) for name in ("t", "place"))
    if version >= 2:
        return Events(time, address & 0x3FFF, address >> 14 & 0x3FFF, address >> 28 & 1)
    return Events(time, address & 0x1FF, address >> 9 & 0xFF, address >> 17 & 1)


def _behind_header(path: Path) -> tuple[int, int]:
    """Where the events of a .dat file begin, and its version."""
    with path.open("rb") as file:
        raw = file.read(_HEAD)
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
    if (size := path.stat().st_size - start) % 8:
        raise LoadError(
            f"{path}: {size} bytes are no events of eight bytes",
            hint="the file is cut off; get it again",
        )
    return start, version


def _version(line: str) -> str:
    name, _, value = line.partition(" ")
    return value.strip() if name == "version" else ""
