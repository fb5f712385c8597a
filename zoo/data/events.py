"""Recordings of event cameras: `events:TRAIN.npz,TEST.npz`, `events:ALL.npz`, `nmnist:ROOT`.

They are read as lists of events; what makes frames of them is the preprocessing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from convsnn.errors import LoadError
from convsnn.random import uniform
from zoo.data.archive import read_arrays
from zoo.data.base import DATASETS, Array, Events, Recordings, checked_labels
from zoo.data.binning import Plane
from zoo.data.digest import of_arrays, of_files
from zoo.data.places import local_path, two_places
from zoo.data.recordings import read_recording
from zoo.data.sensor import check_places, check_size, check_times, one_sensor, seen_in

SCORED = 0.1  # of the recordings of one file, as LTMD and LT-SNN keep back of DVS-CIFAR10
_SENSOR = (34, 34)  # of N-MNIST
_TRAINING = 60_000  # recordings of N-MNIST that are for training, its numbers counting from 1
_SPLIT_SITE = -4  # random numbers that nothing else uses
_NAMES = {"t": ("t", "t_us", "ts"), "x": ("x",), "y": ("y",), "p": ("p", "pol", "polarity")}
_FORM = (
    "events is (n, 4) of whole numbers, columns names the four (t, x, y, p), recording i is "
    "events[offsets[i]:offsets[i + 1]] and labels its class"
)
_NMNIST = "write nmnist:ROOT with recordings as ROOT/Train/0/00002.bin and ROOT/Test/0/00004.bin"


@DATASETS.register("events")
def events(place: str) -> tuple[Recordings, Recordings]:
    """Event lists in .npz files: `events` (n, 4) with its `columns` t, x, y, p, `offsets` of the
    recordings, `labels`, optional `size` of the sensor; of one file those are for the test whose
    `ids` say so (N-MNIST numbers them from 60,001), else a tenth.
    """
    chosen: Sequence[Sequence[int]]
    if "," in place:
        paths = two_places(place, what="events")
        lists = [_read(path) for path in paths]
        chosen = [range(len(one.offsets) - 1) for one in lists]
    else:
        paths, lists = [place] * 2, [_read(place)] * 2
        chosen = lists[0].published or _tenth(len(lists[0].offsets) - 1, source=f"events:{place}")
    known = [int(one.labels.max()) for one in lists if one.labels is not None]
    classes = max(known) + 1 if known else None
    named = one_sensor([one.size for one in lists], [one.seen for one in lists], f"events:{place}")
    seen = max(one.seen[0] for one in lists), max(one.seen[1] for one in lists)
    train, test = (
        one.recordings(numbers, split=split, classes=classes, sensor=named or seen, seen=not named)
        for one, numbers, split in zip(lists, chosen, ("train", "test"), strict=True)
    )
    return train, test


@DATASETS.register("nmnist")
def nmnist(place: str) -> tuple[Recordings, Recordings]:
    """N-MNIST as published: ROOT/Train/0/00002.bin and so on, unpacked (Orchard et al. 2015)."""
    root = local_path(place, what="nmnist", hint=_NMNIST)
    train, test = (
        _folder(root / name, source=f"nmnist:{place}", split=name.lower())
        for name in ("Train", "Test")
    )
    return train, test


@dataclass(frozen=True)
class _Lists:
    """What one file holds; `columns` are the places of t, x, y and p (None without polarity)."""

    source: str
    events: Array
    offsets: Array
    columns: tuple[int, int, int, int | None]
    labels: torch.Tensor | None
    size: Plane | None
    seen: Plane
    published: list[list[int]] | None

    def recordings(
        self, numbers: Sequence[int], *, split: str, classes: int | None, sensor: Plane, seen: bool
    ) -> Recordings:
        """Those of these numbers."""
        t, x, y, p = self.columns

        def read(number: int) -> Events:
            first = numbers[number]
            rows = self.events[self.offsets[first] : self.offsets[first + 1]].astype(np.int64)
            polarity = None if p is None else (rows[:, p] > 0).astype(np.int64)
            return Events(rows[:, t], rows[:, x], rows[:, y], polarity)

        labels = None if self.labels is None else self.labels[list(numbers)]
        known = None if labels is None else classes
        held = [self.events, self.offsets, np.array(numbers), np.array(self.columns, dtype=str)]
        return Recordings(
            self.source, split, len(numbers), read, labels, known, sensor,
            seen=seen, contents=partial(of_arrays, held),
        )  # fmt: skip


def _read(place: str) -> _Lists:
    path = local_path(place, what="events", hint="write events:TRAIN.npz,TEST.npz")
    held = read_arrays(path, ["events", "columns", "offsets"], optional=["labels", "size", "ids"])
    rows, offsets, source = held["events"], held["offsets"], f"events:{place}"
    names = [str(name) for name in held["columns"].reshape(-1)]
    if rows.ndim != 2 or rows.dtype.kind not in "iu" or rows.shape[1] != len(names):
        raise LoadError(
            f"{source}: events of {rows.dtype} {rows.shape} with {len(names)} columns are no list",
            hint=_FORM,
        )
    if not len(rows):
        raise LoadError(f"{source}: there are no events", hint=_FORM)
    t, x, y, p = (
        next((names.index(name) for name in known if name in names), None)
        for known in _NAMES.values()
    )
    if t is None or x is None or y is None:
        raise LoadError(f"{source}: the columns are {', '.join(names)}", hint=_FORM)
    _check_offsets(offsets, len(rows), source)
    count = len(offsets) - 1
    labels = checked_labels(held["labels"], count, source) if "labels" in held else None
    size = check_size(held["size"], source, hint=_FORM) if "size" in held else None
    offsets, places = offsets.astype(np.int64), rows[:, [y, x]]
    check_times(rows[:, t], offsets, source)
    check_places(places, offsets, size, source, hint=_FORM)
    seen = seen_in(places, offsets, source) if size is None else size
    published = _published(held["ids"], count, source) if "ids" in held else None
    return _Lists(source, rows, offsets, (t, x, y, p), labels, size, seen, published)


def _check_offsets(offsets: Array, events: int, source: str) -> None:
    usable = offsets.dtype.kind in "iu" and offsets.ndim == 1 and len(offsets) > 1
    steps = np.diff(offsets.astype(np.int64)) if usable else np.array([-1])
    if (steps < 0).any() or int(offsets[0]) != 0 or int(offsets[-1]) != events:
        raise LoadError(
            f"{source}: offsets do not divide the {events} events into recordings", hint=_FORM
        )
    if (steps == 0).any():
        raise LoadError(
            f"{source}: recording {int(steps.argmin())} holds no events",
            hint="leave empty recordings and their labels out",
        )


def _published(ids: Array, count: int, source: str) -> list[list[int]] | None:
    """The recordings of N-MNIST's two splits by their numbers; None where these name one only."""
    if ids.shape != (count,) or ids.dtype.kind not in "iu":
        raise LoadError(
            f"{source}: ids of {ids.dtype} {ids.shape} do not number {count} recordings", hint=_FORM
        )
    split = [np.flatnonzero(ids <= _TRAINING), np.flatnonzero(ids > _TRAINING)]
    return [[int(i) for i in part] for part in split] if all(map(len, split)) else None


def _tenth(count: int, *, source: str) -> list[list[int]]:
    """Which recordings of one file are trained on and which are scored, always the same."""
    kept = round(SCORED * count)
    if not kept:
        raise LoadError(
            f"{source}: of {count} recordings no tenth can be kept for the test",
            hint="give two files, as events:TRAIN.npz,TEST.npz",
        )
    keys = uniform(0, torch.arange(count), _SPLIT_SITE, range(1), ())[0]
    order = [int(i) for i in keys.argsort(stable=True)]
    return [sorted(order[kept:]), sorted(order[:kept])]


def _folder(folder: Path, *, source: str, split: str) -> Recordings:
    """The recordings of ten folders of .bin files."""
    found = [(path, digit) for digit in range(10) for path in sorted(folder.glob(f"{digit}/*.bin"))]
    if not found:
        raise LoadError(f"{source}: {folder} holds no recordings by digit", hint=_NMNIST)
    paths = [path for path, _ in found]
    labels = torch.tensor([digit for _, digit in found])
    return Recordings(
        source, split, len(found), lambda i: read_recording(paths[i], sensor=_SENSOR), labels,
        10, _SENSOR, contents=partial(of_files, folder, paths),
    )  # fmt: skip
