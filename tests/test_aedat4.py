"""Recordings of DV, `.aedat4`: written here flatbuffer by flatbuffer, read, cut off, damaged."""

import random
import struct
import sys
from pathlib import Path
from typing import Any

import flatbuffers
import pytest
from test_recordings import EVENTS, as_lists

from convsnn.errors import LoadError, MissingExtraError
from zoo.data.recordings import read_recording

STREAM = """<node name="{number}" path="/x/{number}/"><attr key="typeIdentifier"
 type="string">{kind}</attr><node name="info" path="/x/{number}/info/"><attr key="sizeX"
 type="int">{width}</attr><attr key="sizeY" type="int">{height}</attr></node></node>"""


def header(*streams: str, text: str | None = None) -> bytes:
    inside = "".join(streams)
    xml = f'<dv version="2.0"><node name="outInfo" path="/x/">{inside}</node></dv>'
    builder = flatbuffers.Builder(256)
    text_at = builder.CreateString(xml if text is None else text)
    builder.StartObject(3)
    builder.PrependUOffsetTRelativeSlot(2, text_at, 0)
    builder.Finish(builder.EndObject(), file_identifier=b"IOHE")
    found = bytes(builder.Output())
    return b"#!AER-DAT4.0\r\n" + struct.pack("<I", len(found)) + found


def packet(events: Any, *, stream: int = 0, kind: bytes = b"EVTS") -> bytes:
    builder = flatbuffers.Builder(256)
    builder.StartVector(16, len(events), 8)
    for t, x, y, p in reversed(events):
        builder.Prep(8, 16)
        builder.Pad(3)
        builder.PrependBool(p)
        builder.PrependInt16(y)
        builder.PrependInt16(x)
        builder.PrependInt64(t)
    vector = builder.EndVector()
    builder.StartObject(1)
    builder.PrependUOffsetTRelativeSlot(0, vector, 0)
    builder.FinishSizePrefixed(builder.EndObject(), file_identifier=kind)
    found = bytes(builder.Output())
    return struct.pack("<II", stream, len(found)) + found


def described(number: int = 0, kind: str = "EVTS", *, width: int = 7, height: int = 8) -> str:
    return STREAM.format(number=number, kind=kind, width=width, height=height)


def file_of(events: Any) -> bytes:
    return header(described()) + packet(events[:2]) + packet(events[2:])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    pytest.importorskip("aedat")
    return tmp_path / "one.aedat4"


def test_events_of_the_first_stream_are_read_and_sorted_by_time(path: Path) -> None:
    path.write_bytes(file_of(EVENTS))
    assert as_lists(read_recording(path)) == EVENTS
    path.write_bytes(file_of(EVENTS[2:] + EVENTS[:2]))
    in_order = [EVENTS[0], EVENTS[2], EVENTS[1], EVENTS[3]]
    assert as_lists(read_recording(path, sensor=(8, 7))) == in_order
    streams = described(), described(1), described(2, "TRIG")
    path.write_bytes(header(*streams) + packet(EVENTS[:1], stream=1) + packet(EVENTS))
    assert as_lists(read_recording(path)) == EVENTS


def test_what_is_cut_off_empty_or_outside_is_refused_by_name(path: Path) -> None:
    whole = file_of(EVENTS)
    for cut in range(5, len(whole), 2):
        ends = cut in (len(header(described())), len(header(described()) + packet(EVENTS[:2])))
        path.write_bytes(whole[:cut])
        if not ends:  # where a packet ends nothing says that more should come
            with pytest.raises(LoadError, match=r"one\.aedat4"):
                read_recording(path)
    for empty in (header(described()), file_of([])):
        path.write_bytes(empty)
        with pytest.raises(LoadError, match="holds no events"):
            read_recording(path)
    path.write_bytes(whole)
    with pytest.raises(LoadError, match="outside of the sensor"):
        read_recording(path, sensor=(7, 7))
    path.write_bytes(header(described(width=6)) + packet(EVENTS))
    with pytest.raises(LoadError, match="names a sensor of 8x6"):
        read_recording(path)


WRONG = {
    "an older version": (b"#!AER-DAT3.1\r\n", "ending .aedat"),
    "no stream of events": (header(described(kind="TRIG")), "no stream of events"),
    "no streams": (header(), "damaged"),
    "no XML": (header(text="<dv"), "damaged"),
    "a stream of nothing known": (header(described()) + packet(EVENTS, stream=4), "damaged"),
    "packets of another kind": (header(described()) + packet(EVENTS, kind=b"IMUS"), "damaged"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_recording_of_events_is_said(path: Path, case: str) -> None:
    raw, text = WRONG[case]
    path.write_bytes(raw)
    with pytest.raises(LoadError) as caught:
        read_recording(path)
    assert text in f"{caught.value} {caught.value.hint}"


def test_bytes_that_changed_are_read_or_refused_and_nothing_else_happens(path: Path) -> None:
    whole, draw = file_of(EVENTS), random.Random(0)
    start = len(header(described()))
    for number in range(120):
        raw = bytearray(whole)
        first, last = (14, start) if number % 2 else (start, len(raw))
        for _ in range(1 + number % 3):
            raw[draw.randrange(first, last)] = draw.randrange(256)
        path.write_bytes(raw)
        try:
            found = read_recording(path)
        except LoadError:
            continue
        assert len(found.t) <= len(raw)


@pytest.mark.parametrize(
    ("platform", "hint"), [("linux", "convsnn[events]"), ("darwin", "no files of it for macOS")]
)
def test_without_aedat_the_extra_is_named_where_it_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, hint: str
) -> None:
    monkeypatch.setitem(sys.modules, "aedat", None)
    path = tmp_path / "one.aedat4"
    path.write_bytes(file_of(EVENTS))
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(MissingExtraError) as caught:
        read_recording(path)
    assert hint in caught.value.hint
    assert ("convsnn[events]" in caught.value.hint) == (platform != "darwin")
