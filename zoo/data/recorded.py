"""Data sets of recordings, a file each, as they are published or in folders of your own.

Nothing is fetched: unpack the official files. Where no split is published a part is kept for the
test, always the same: a tenth of DVS-CIFAR10, a fifth of N-Caltech101, as the papers do.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from convsnn.errors import LoadError
from convsnn.random import uniform
from zoo.data.base import DATASETS, Events, Recordings
from zoo.data.binning import Plane
from zoo.data.digest import of_files
from zoo.data.listing import Listing, list_files
from zoo.data.places import local_path
from zoo.data.recordings import SUFFIXES, read_recording
from zoo.data.sensor import FAR

Split = tuple[Recordings, Recordings]
_SPLIT_SITE = -5  # random numbers that nothing else uses
_FORM = (
    "write recordings:DIR with DIR/train/CLASS/* and DIR/test/CLASS/*, or DIR/CLASS/*, a recording "
    f"a file ({', '.join(SUFFIXES)})"
)


@DATASETS.register("recordings")
def recordings(place: str) -> Split:
    """Recordings of your own, one a file: DIR/train/CLASS/*, DIR/test/CLASS/*, or DIR/CLASS/*, of
    which a tenth is kept for the test. All files are looked at once, for the sensor's size."""
    root = local_path(place, what="recordings", hint=_FORM)
    source = f"recordings:{place}"
    if (root / "train").is_dir():
        parts = [list_files(root / name, SUFFIXES, what="recordings", hint=_FORM)
                 for name in ("train", "test")]  # fmt: skip
        if parts[0].classes != parts[1].classes:
            raise LoadError(
                f"{source}: train and test do not hold the same classes",
                hint="give both the same class folders, so that class numbers mean the same",
            )
    else:
        parts = _parted(list_files(root, SUFFIXES, what="recordings", hint=_FORM), 0.1, source)
    sensor = _seen([path for part in parts for path in part.paths])
    return _both(parts, source, sensor, seen=True)


@DATASETS.register("dvscifar10")
def dvscifar10(place: str) -> Split:
    """DVS-CIFAR10 as published, unpacked: ROOT/airplane/cifar10_airplane_0.aedat and so on."""
    return _by_class("dvscifar10", place, (".aedat",), (128, 128), kept=0.1, classes=10)


@DATASETS.register("ncaltech101")
def ncaltech101(place: str) -> Split:
    """N-Caltech101 as published, unpacked: ROOT/accordion/image_0001.bin and so on."""
    return _by_class("ncaltech101", place, (".bin",), (180, 240), kept=0.2, classes=None)


@DATASETS.register("ncars")
def ncars(place: str) -> Split:
    """N-Cars as published, unpacked: ROOT/train/cars/obj_004396_td.dat, ROOT/test/background."""
    hint = "write ncars:ROOT with ROOT/train/cars/*.dat, ROOT/train/background/*.dat, ROOT/test"
    root = local_path(place, what="ncars", hint=hint)
    parts = [
        list_files(root / name, (".dat",), what="recordings", hint=hint)
        for name in ("train", "test")
    ]
    for part in parts:
        if part.classes != ("background", "cars"):
            raise LoadError(f"{part.root} holds {', '.join(part.classes)}", hint=hint)
    return _both(parts, f"ncars:{place}", (100, 120))


def _by_class(
    name: str,
    place: str,
    suffixes: Sequence[str],
    sensor: Plane,
    *,
    kept: float,
    classes: int | None,
) -> Split:
    hint = f"write {name}:ROOT with the official files unpacked as ROOT/CLASS/*{suffixes[0]}"
    root = local_path(place, what=name, hint=hint)
    found = list_files(root, suffixes, what="recordings", hint=hint)
    if classes is not None and len(found.classes) != classes:
        raise LoadError(
            f"{name}: {root} holds {len(found.classes)} classes, not {classes}", hint=hint
        )
    return _both(_parted(found, kept, f"{name}:{place}"), f"{name}:{place}", sensor)


def _both(parts: Sequence[Listing], source: str, sensor: Plane, *, seen: bool = False) -> Split:
    train, test = (
        Recordings(
            source, split, len(part.paths), _reader(part.paths, None if seen else sensor),
            torch.tensor(part.numbers), len(part.classes), sensor, seen=seen,
            contents=partial(of_files, part.root, part.paths), class_names=part.classes,
        )
        for part, split in zip(parts, ("train", "test"), strict=True)
    )  # fmt: skip
    return train, test


def _reader(paths: Sequence[Path], sensor: Plane | None) -> Callable[[int], Events]:
    return lambda number: read_recording(paths[number], sensor=sensor)


def _parted(whole: Listing, kept: float, source: str) -> list[Listing]:
    """Every class in two, so that none is without recordings on either side."""
    chosen: list[list[int]] = [[], []]
    for number in range(len(whole.classes)):
        members = [i for i, label in enumerate(whole.numbers) if label == number]
        if len(members) < 2:
            raise LoadError(
                f"{source}: class '{whole.classes[number]}' has one recording, and none is left "
                "for the test",
                hint="give two at least, or folders train and test",
            )
        keys = uniform(0, torch.tensor(members), _SPLIT_SITE, range(1), ())[0]
        order = [members[int(i)] for i in keys.argsort(stable=True)]
        test = min(len(members) - 1, max(1, round(kept * len(members))))
        chosen[1] += order[:test]
        chosen[0] += order[test:]
    return [
        Listing(
            whole.root,
            whole.classes,
            tuple(whole.paths[i] for i in sorted(part)),
            tuple(whole.numbers[i] for i in sorted(part)),
        )
        for part in chosen
    ]


def _seen(paths: Sequence[Path]) -> Plane:
    """The smallest sensor of all events; LoadError where one recording reaches far beyond all
    others."""
    reach = []
    for path in paths:
        events = read_recording(path)
        reach.append((int(events.y.max()) + 1, int(events.x.max()) + 1))
    for axis, name in enumerate(("row", "column")):
        order = sorted(range(len(reach)), key=lambda i: reach[i][axis])
        usual, last = reach[order[len(order) // 2]][axis], order[-1]
        if reach[last][axis] > FAR * usual:
            raise LoadError(
                f"{paths[last]} has an event at {name} {reach[last][axis] - 1}, but most "
                f"recordings end at {usual - 1}",
                hint="give recordings of one sensor, and leave out what lies outside",
            )
    return max(r for r, _ in reach), max(c for _, c in reach)
