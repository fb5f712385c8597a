"""Recordings of jAER and cAER: `.aedat`, version 2 of the sensor DVS128 and version 3.1.

Both begin with lines that start with #. Version 2 goes on with four bytes of address and four of
time in us, big-endian; of the address bit 0 is 0 for brighter, bits 1 to 7 are the column from the
right and 8 to 14 the row from below. Version 3.1 goes on with packets, each with a header of 28
bytes (type, source, size of an event, place of the time, overflows of the clock, room, number,
valid) and its events, little-endian: bit 0 valid, bit 1 brighter, 15 bits of row, 15 of column.
"""

from pathlib import Path
from struct import Struct

import numpy as np

from convsnn.errors import LoadError
from zoo.data.binning import Events
from zoo.data.digest import Array

_PACKET = Struct("<hhiiiiii")
_POLARITY = 1  # the type of packets with events; others hold frames, samples of motion and so on
_LAST = 127  # row and column of DVS128
_CUT = "the file is cut off; get it again"


def read_aedat(path: Path) -> Events:
    """See `read_recording`."""
    raw = path.read_bytes()
    first = raw.partition(b"\n")[0]
    start = _behind_header(raw)
    if first.startswith(b"#!AER-DAT2"):
        return _version_2(raw[start:], path)
    if first.startswith(b"#!AER-DAT3"):
        return _version_3(raw, start, path)
    raise LoadError(
        f"{path} is no .aedat file of version 2 or 3.1",
        hint="version 4 has the ending .aedat4",
    )


def _behind_header(raw: bytes) -> int:
    start = 0
    while raw[start : start + 1] == b"#":
        end = raw.find(b"\n", start)
        if end < 0:
            return len(raw)
        ends = raw[start:end].startswith(b"#!END-HEADER")
        start = end + 1
        if ends:
            break
    return start


def _version_2(body: bytes, path: Path) -> Events:
    if len(body) % 8:
        raise LoadError(f"{path}: {len(body)} bytes are no events of eight bytes", hint=_CUT)
    address, time = np.frombuffer(body, ">u4").astype(np.int64).reshape(-1, 2).T
    events = address >> 15 == 0  # others are of what was plugged in beside the sensor
    address, time = address[events], time[events]
    return Events(
        time, _LAST - (address >> 1 & _LAST), _LAST - (address >> 8 & _LAST), 1 - (address & 1)
    )


def _version_3(raw: bytes, start: int, path: Path) -> Events:
    times: list[Array] = []
    places: list[Array] = []
    while start < len(raw):
        if start + _PACKET.size > len(raw):
            raise LoadError(f"{path}: its last packet has no whole header", hint=_CUT)
        kind, _, size, _, overflow, _, number, _ = _PACKET.unpack_from(raw, start)
        start += _PACKET.size
        if size < 1 or number < 0 or start + size * number > len(raw):
            raise LoadError(f"{path}: a packet names more events than the file has", hint=_CUT)
        if kind == _POLARITY:
            if size != 8:
                raise LoadError(f"{path}: events of {size} bytes, not of eight", hint=_CUT)
            words = np.frombuffer(raw, "<u4", count=2 * number, offset=start).astype(np.int64)
            place, time = words.reshape(-1, 2).T
            valid = place & 1 == 1
            times.append(time[valid] + (overflow << 31))
            places.append(place[valid])
        start += size * number
    if not places:
        return Events(*[np.zeros(0, np.int64)] * 4)
    place = np.concatenate(places)
    return Events(np.concatenate(times), place >> 17 & 0x7FFF, place >> 2 & 0x7FFF, place >> 1 & 1)
