"""Mutated data: each file or folder opens, or is refused by a ConvsnnError, and soon.

Arrays, lists of events, IDX files and folders of images are changed from a seed. CONVSNN_FUZZ=500
tries so many instead of the few of every day; below stand the findings.
"""

import io
import os
import random
import shutil
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convsnn.errors import ConfigError, ConvsnnError, LoadError
from zoo.data import Preprocessing, open_data

TRIED = int(os.environ.get("CONVSNN_FUZZ", "100"))
SEED = int(os.environ.get("CONVSNN_FUZZ_SEED", "12"))
SLOWEST = 60.0  # seconds of work: far above what sound data takes, far below a hang
PLAIN = Preprocessing()


def scrambled(rng: random.Random, whole: bytes) -> bytes:
    """Some bytes changed, cut off or added."""
    changed = bytearray(whole)
    for _ in range(rng.randint(1, 6)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    kept = rng.choice([len(changed), len(changed), rng.randrange(len(changed))])
    return bytes(changed[:kept]) + rng.randbytes(rng.choice([0, 0, 7]))


def packed(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def strange(rng: random.Random, array: Any) -> Any:
    """Another type, shape or value."""
    kinds = ["f4", "f8", "i8", "u1", "c8", "U3", "?", "O", "u8", "M8[s]"]
    numbers = array.dtype.kind in "iu" and rng.random() < 0.5
    changed = array.astype(rng.choice(kinds)) if numbers else array.copy()
    if rng.random() < 0.3:
        changed = changed.reshape(rng.choice([(-1,), (1, -1), (-1, 1, 1)]))
    if rng.random() < 0.3:
        changed = changed[: rng.randrange(len(changed) + 1)]
    if changed.size and changed.dtype.kind in "iuf" and rng.random() < 0.5:
        worst = np.iinfo(changed.dtype).max if changed.dtype.kind in "iu" else np.nan
        changed.reshape(-1)[rng.randrange(changed.size)] = worst
    return changed


def header_of(rng: random.Random) -> bytes:
    """An .npz whose array declares something else than it holds."""
    shape = rng.choice([(10**12,), (10**6, 10**6), (-1, 4), (3, 10**30), (0, 10**12), (2, 2)])
    kind = rng.choice(["<f4", "|u1", "|O", "<U99999999", "<f16"])
    text = repr({"descr": kind, "fortran_order": False, "shape": shape}).encode()
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text + b"\n" + b"\0" * 64
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.npy", member)
    return buffer.getvalue()


def arrays_of(rng: random.Random, folder: Path) -> tuple[str, tuple[int, ...], int | None]:
    x = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
    y = np.arange(6) % 3
    kind = rng.randrange(3)
    if kind == 0:
        data = scrambled(rng, packed(x=x, y=y))
    elif kind == 1:
        held = {"x": x, "y": y}
        name = rng.choice(sorted(held))
        held[name] = strange(rng, held[name])
        data = packed(**held)
    else:
        data = header_of(rng)
    (folder / "a.npz").write_bytes(packed(x=x, y=y))
    (folder / "b.npz").write_bytes(data)
    return f"npz:{folder}/a.npz,{folder}/b.npz", (3, 4, 4), None


def events_of(rng: random.Random, folder: Path) -> tuple[str, tuple[int, ...], int | None]:
    draw = np.random.default_rng(rng.randrange(100))
    rows = np.stack([np.sort(draw.integers(0, 999, 60)), *draw.integers(0, 8, (2, 60)),
                     draw.integers(0, 2, 60)], 1)  # fmt: skip
    held: dict[str, Any] = {
        "events": rows, "columns": np.array(["t", "x", "y", "p"]),
        "offsets": np.arange(0, 61, 5), "labels": np.arange(12) % 3,
    }  # fmt: skip
    if rng.random() < 0.5:
        held["size"] = np.array([8, 8])
    if rng.random() < 0.6:
        name = rng.choice(sorted(held))
        held[name] = strange(rng, held[name])
    if rng.random() < 0.5:
        rows[rng.randrange(60), rng.randrange(4)] = rng.choice([-1, 10**6, 2**62, -(2**62), 2**31])
    data = packed(**held)
    (folder / "e.npz").write_bytes(scrambled(rng, data) if rng.random() < 0.3 else data)
    return f"events:{folder}/e.npz", (2, 8, 8), 4


def idx_of(rng: random.Random, folder: Path) -> tuple[str, tuple[int, ...], int | None]:
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train", "t10k"):
        x = np.zeros((5, 28, 28), np.uint8)
        (raw / f"{name}-images-idx3-ubyte").write_bytes(
            struct.pack(">iiii", 0x803, 5, 28, 28) + x.tobytes()
        )
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(
            struct.pack(">ii", 0x801, 5) + bytes(range(5))
        )
    path = rng.choice(sorted(raw.iterdir()))
    whole = bytearray(path.read_bytes())
    if rng.random() < 0.5:
        place = rng.choice([0, 4, 8]) % max(4, min(len(whole) - 4, 12))
        whole[place : place + 4] = struct.pack(">i", rng.choice([-1, 0, 2**31 - 1, 10**6, 4]))
        path.write_bytes(bytes(whole))
    else:
        path.write_bytes(scrambled(rng, bytes(whole)))
    return f"mnist:{folder}", (1, 28, 28), None


def folders_of(rng: random.Random, folder: Path) -> tuple[str, tuple[int, ...], int | None]:
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for number in range(2):
                Image.new("RGB", (4, 4)).save(folder / split / name / f"{number}.png")
    place = folder / rng.choice(["train", "test"])
    inside = place / rng.choice(["cat", "dog", "."])
    target = inside / rng.choice(["new", "x.png", ".hidden", "1.png"])
    kind = rng.randrange(7)
    if target.exists():
        target.unlink()
    if kind == 0:
        target.symlink_to(rng.choice([folder, place, inside, place / "cat", target, Path("/nix")]))
    elif kind == 1:
        os.mkfifo(target)
    elif kind == 2:
        target.mkdir()
    elif kind == 3:
        target.symlink_to("/dev/zero")
    elif kind == 4:
        target.write_bytes(rng.randbytes(50))
    elif kind == 5:
        sound = (place / "cat" / "0.png").read_bytes()
        target.write_bytes(scrambled(rng, sound))
    else:
        shutil.rmtree(place / "cat")
    return f"folder:{folder}", (3, 4, 4), None


Maker = Callable[[random.Random, Path], tuple[str, tuple[int, ...], int | None]]
KINDS: tuple[Maker, ...] = (arrays_of, events_of, idx_of, folders_of)


def outcome(spec: str, shape: tuple[int, ...], steps: int | None) -> str:
    """What a command makes of data: samples, or a refusal; else the test fails."""
    start = time.process_time()
    try:
        opened = open_data(spec, input_shape=shape, preprocessing=PLAIN, steps=steps)
        for part in (opened.train, opened.test):
            for x, y in part.batches(4):
                assert bool(x.isfinite().all())
                assert y is None or int(y.min()) >= 0
            assert part.digest == part.digest
        found = "loaded"
    except ConvsnnError as error:
        found = type(error).__name__
    assert time.process_time() - start < SLOWEST
    return found


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_mutated_data_opens_or_is_refused(kind: Maker, tmp_path: Path) -> None:
    found: dict[str, int] = {}
    for number in range(TRIED // len(KINDS)):
        folder = tmp_path / str(number)
        folder.mkdir()
        rng = random.Random(f"{SEED} {kind.__name__} {number}")
        try:
            result = outcome(*kind(rng, folder))
        except Exception as error:
            raise AssertionError(
                f"{kind.__name__} {number} of seed {SEED} raised {type(error).__name__}: {error}"
            ) from error
        found[result] = found.get(result, 0) + 1
        shutil.rmtree(folder)
    print(kind.__name__, found)
    assert sum(found.values()) == TRIED // len(KINDS)


# --- findings ------------------------------------------------------------------------------------


def tree(root: Path, count: int = 2) -> Path:
    for split in ("train", "test"):
        for number, name in enumerate(("cat", "dog")):
            (root / split / name).mkdir(parents=True)
            for image in range(count):
                color = (90 * number, 9 * image, 0)
                Image.new("RGB", (4, 4), color).save(root / split / name / f"{image}.png")
    return root


def opened(spec: str, shape: tuple[int, ...] = (3, 4, 4), steps: int | None = None) -> Any:
    return open_data(spec, input_shape=shape, preprocessing=PLAIN, steps=steps)


@pytest.mark.parametrize("to", ["..", "../dog", "../..", ".", "../../.."])
def test_links_back_into_the_data_are_refused(tmp_path: Path, to: str) -> None:
    root = tree(tmp_path / "data")
    (root / "train" / "cat" / "loop").symlink_to(to)
    with pytest.raises(LoadError, match="leads back into the data"):
        opened(f"folder:{root}")


def test_links_out_of_the_data_are_followed_and_hidden_things_left_out(tmp_path: Path) -> None:
    root = tree(tmp_path / "data")
    before = opened(f"folder:{root}").train
    for place in (".git", ".ipynb_checkpoints"):
        (root / "train" / place).mkdir()
    (root / "train" / "cat" / "._0.png").write_bytes(b"no image")
    (root / "train" / ".DS_Store").write_bytes(b"")
    after = opened(f"folder:{root}").train
    assert (after.classes, len(after), after.digest) == (2, 4, before.digest)
    shutil.move(root / "train" / "dog", tmp_path / "elsewhere")
    (root / "train" / "dog").symlink_to(tmp_path / "elsewhere")
    linked = opened(f"folder:{root}").train
    assert (len(linked), linked.digest) == (4, before.digest)


@pytest.mark.parametrize("what", ["pipe", "device", "gone"])
def test_what_is_named_as_an_image_and_is_none_is_refused(tmp_path: Path, what: str) -> None:
    path = tree(tmp_path) / "train" / "dog" / "9.png"
    if what == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if what == "device" else "nowhere")
    with pytest.raises(LoadError, match=r"9\.png"):
        opened(f"folder:{tmp_path}")


def test_pipes_and_devices_are_no_arrays(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npz")
    for path in (tmp_path / "a.npz", Path("/dev/zero"), tmp_path):
        for name in ("npz", "frames"):
            with pytest.raises(LoadError, match="is no file but a"):
                opened(f"{name}:{path},{path}")


@pytest.mark.parametrize("shape", ["(1000000000000,)", "(1000000, 1000000)"])
def test_a_size_that_is_only_declared_takes_no_memory(tmp_path: Path, shape: str) -> None:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}".encode()
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr(
            "x.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text + b"\n"
        )
    with pytest.raises(LoadError, match="declares 4000000000000 bytes"):
        opened(f"npz:{tmp_path}/a.npz,{tmp_path}/a.npz")


def test_more_than_memory_holds_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((100, 50, 50, 3), np.uint8))
    monkeypatch.setattr("zoo.data.room.free_memory", lambda _: 500_000)
    monkeypatch.setattr(np.lib.format, "read_array", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(LoadError, match="of memory are free"):
        opened(f"npz:{tmp_path}/a.npz,{tmp_path}/a.npz")


def events(path: Path, rows: Any, *, per: int = 10, **more: Any) -> Path:
    rows = np.asarray(rows)
    np.savez(path, events=rows, columns=np.array(["t", "x", "y", "p"]),
             offsets=np.arange(0, len(rows) + 1, per), **more)  # fmt: skip
    return path


def rows_of(seed: int, side: int, count: int = 2000) -> Any:
    draw = np.random.default_rng(seed)
    times = np.sort(draw.integers(0, 999, (count // 10, 10)), axis=1).reshape(-1)
    return np.stack([times, *draw.integers(0, side, (2, count)), draw.integers(0, 2, count)], 1)


def test_one_event_far_away_is_named_and_makes_no_sensor(tmp_path: Path) -> None:
    rows = rows_of(0, 8)
    rows[1234, 1] = 5000
    path = events(tmp_path / "e.npz", rows)
    with pytest.raises(LoadError, match="recording 123 has an event at column 5000") as caught:
        opened(f"events:{path}", (2, 8, 8), 4)
    assert "size" in caught.value.hint
    with pytest.raises(LoadError, match=r"recording 123 .*outside a sensor of 8x8"):
        opened(f"events:{events(path, rows, size=np.array([8, 8]))}", (2, 8, 8), 4)


def test_both_parts_share_one_sensor(tmp_path: Path) -> None:
    wide, narrow = (events(tmp_path / f"{n}.npz", rows_of(n, n)) for n in (16, 8))
    alone = opened(f"events:{narrow},{narrow}", (2, 8, 8), 4)
    shared = opened(f"events:{wide},{narrow}", (2, 8, 8), 4)
    assert bool(next(alone.test.batches(9))[0][..., 4:, :].any())
    # on the sensor of 16x16 the narrow one's events fill a quarter of the frame
    assert not bool(next(shared.test.batches(9))[0][..., 4:, :].any())
    named = events(tmp_path / "s.npz", rows_of(3, 8), size=np.array([8, 8]))
    with pytest.raises(LoadError, match="names a sensor of 8x8, the other has events up to"):
        opened(f"events:{named},{wide}", (2, 8, 8), 4)
    other = events(tmp_path / "o.npz", rows_of(3, 8), size=np.array([9, 8]))
    with pytest.raises(LoadError, match="sensor of 8x8, the other of 9x8"):
        opened(f"events:{named},{other}", (2, 8, 8), 4)


def test_a_clock_that_cannot_be_counted_is_refused(tmp_path: Path) -> None:
    rows = rows_of(0, 8)
    rows[55, 0] = 2**62
    with pytest.raises(LoadError, match="times of recording 5 run from"):
        opened(f"events:{events(tmp_path / 'e.npz', rows)}", (2, 8, 8), 4)


def test_a_digest_sees_every_sample_label_and_file(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    x, y = draw.integers(0, 256, (40, 4, 4, 3), dtype=np.uint8), np.arange(40) % 3
    other_x, other_y = x.copy(), y.copy()
    other_x[-1, -1, -1, -1] ^= 1
    other_y[-1] = 1 - other_y[-1] % 2
    found = []
    for number, (one, two) in enumerate([(x, y), (other_x, y), (x, other_y), (x, None)]):
        path = tmp_path / f"{number}.npz"
        np.savez(path, x=one, **({} if two is None else {"y": two}))
        found.append(opened(f"npz:{path},{path}").train.digest)
    assert len(set(found)) == 4
    again = tmp_path / "again.npz"
    np.savez_compressed(again, x=x, y=y)  # another file of the same data
    assert opened(f"npz:{again},{again}").train.digest == found[0]
    root = tree(tmp_path / "tree")
    before = opened(f"folder:{root}").train.digest
    Image.new("RGB", (4, 4), (1, 2, 3)).save(root / "train" / "dog" / "1.png")
    changed = opened(f"folder:{root}").train.digest
    (root / "train" / "dog" / "1.png").rename(root / "train" / "cat" / "7.png")
    moved = opened(f"folder:{root}").train.digest
    assert len({before, changed, moved}) == 3


def test_numbers_that_float32_cannot_divide_by_are_refused() -> None:
    for values in ({"scale": 1e300}, {"scale": 1e-300}, {"std": (1e-40,)}, {"mean": (1e39,)},
                   {"resize": (10**9,)}):  # fmt: skip
        with pytest.raises(ConfigError, match="not usable"):
            Preprocessing(**values)
