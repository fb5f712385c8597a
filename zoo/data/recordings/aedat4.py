"""Recordings of DV: `.aedat4`, read by the package aedat.

A line, four bytes of length and a header of that length, a flatbuffer with the way packets are
compressed, the place of a table behind them, and XML that describes the streams; then packets, each
with the number of its stream and its length. The package takes header and lengths as they are, and
a damaged header ends the process, so both are looked at here first.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from struct import calcsize, unpack_from
from typing import Any

import numpy as np

from convsnn.errors import LoadError, MissingExtraError
from zoo.data.binning import Events
from zoo.data.digest import Array

MAGIC = b"#!AER-DAT4.0\r\n"
_NO_MACOS = (  # and so the extra leaves it out there
    "there are no files of it for macOS: read the recording on another system, or save its events "
    "as .npz or .h5 of t, x, y, p"
)
_CUT = "the file is cut off; get it again"
_TABLE, _TEXT = 1, 2  # fields of the header: where the table behind the packets is, and the XML
_PASSED_ON = (KeyboardInterrupt, SystemExit, MemoryError, LoadError)


def read_aedat4(path: Path) -> Events:
    """See `read_recording`; of several streams of events the first. MissingExtraError without
    aedat."""
    try:
        import aedat
    except ImportError:
        raise MissingExtraError(
            "aedat, which reads .aedat4 files,",
            "events",
            hint=_NO_MACOS if sys.platform == "darwin" else "",
        ) from None
    _check(path.read_bytes(), path)
    try:
        decoder = aedat.Decoder(path)
        streams = {n: one for n, one in decoder.id_to_stream().items() if one["type"] == "events"}
        if not streams:
            raise LoadError(f"{path} holds no stream of events", hint="record with an event camera")
        first = min(streams)
        parts = [packet["events"] for packet in decoder if packet["stream_id"] == first]
    except _PASSED_ON:
        raise
    except BaseException as error:  # a panic of the package is no Exception
        reason = str(error).partition("\n")[0]
        raise LoadError(f"{path} is damaged: {reason}", hint="get it again") from None
    return _events(parts, streams[first], path)


def _events(parts: list[Array], stream: dict[str, Any], path: Path) -> Events:
    if not parts:
        return Events(*[np.zeros(0, np.int64)] * 4)
    t, x, y, p = (np.concatenate([part[name] for part in parts]).astype(np.int64)
                  for name in ("t", "x", "y", "on"))  # fmt: skip
    width, height = stream["width"], stream["height"]
    if len(t) and (x.max() >= width or y.max() >= height):
        raise LoadError(
            f"{path} names a sensor of {height}x{width} and holds an event at row {y.max()}, "
            f"column {x.max()}",
            hint="the file is damaged; get it again",
        )
    return Events(t, x, y, p)


def _check(raw: bytes, path: Path) -> None:
    """LoadError for a header that is none, and for packets that the file does not hold whole."""
    if not raw.startswith(MAGIC):
        raise LoadError(
            f"{path} is no .aedat4 file of version 4.0",
            hint="versions 2 and 3.1 have the ending .aedat",
        )
    try:
        start = len(MAGIC) + 4 + _number(raw, len(MAGIC), "<I")
        if start > len(raw):
            raise ValueError("it is longer than the file")
        header = raw[len(MAGIC) + 4 : start]
        (table,) = _field(header, _TABLE, "<q") or (-1,)
        _text(header)
    except (ValueError, UnicodeError) as error:
        raise LoadError(f"{path}: its header is damaged: {error}", hint=_CUT) from None
    end = len(raw) if table < 0 else table
    for place in _packets(raw, start, end):
        start = place
    if start != end:
        raise LoadError(f"{path}: its last packet is not whole", hint=_CUT)


def _packets(raw: bytes, start: int, end: int) -> Iterator[int]:
    """Where each packet ends that lies before `end`."""
    while start + 8 <= end <= len(raw):
        start += 8 + _number(raw, start + 4, "<I")
        if start > end:
            return
        yield start


def _text(header: bytes) -> str:
    """The XML of a header."""
    known = _place(header, _TEXT)
    if known is None:
        raise ValueError("it describes no streams")
    start = known + _number(header, known, "<I")
    end = start + 4 + _number(header, start, "<I")
    if end > len(header):
        raise ValueError("its description is cut off")
    return header[start + 4 : end].decode()


def _field(header: bytes, field: int, kind: str) -> tuple[int] | None:
    known = _place(header, field)
    return None if known is None else (_number(header, known, kind),)


def _place(header: bytes, field: int) -> int | None:
    """Where a field of the header's table stands; None where it is left out."""
    table = _number(header, 0, "<I")
    fields = table - _number(header, table, "<i")
    slot = 4 + 2 * field
    offset = _number(header, fields + slot, "<H") if slot < _number(header, fields, "<H") else 0
    return table + offset if offset else None


def _number(raw: bytes, place: int, kind: str) -> int:
    if not 0 <= place <= len(raw) - calcsize(kind):
        raise ValueError("a place that it names is not in it")
    number: int = unpack_from(kind, raw, place)[0]
    return number
