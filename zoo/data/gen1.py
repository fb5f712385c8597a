"""Prophesee's Gen1: recordings of a drive, a minute each, in which tables of boxes name times.

    ROOT/train/NAME_td.dat       events of a sensor of 240x304
    ROOT/train/NAME_bbox.npy     boxes: ts (or t) in us, x, y, w, h in pixels, class_id
    ROOT/test/...                the same; ROOT/val is not read

A sample is a labelled time: the events of the `WINDOW` before it, and its boxes (de Tournemire et
al. 2020). Boxes of this data reach over the sensor's edge, or lie beyond it; they are cut to the
sensor, and what nothing is left of is left out. So are, as the data set's own tools do for scoring,
those of the first half second, of a side below 10 or a diagonal below 30 pixels. How long a window
is LT-SNN does not say.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from convsnn.errors import LoadError
from zoo.data.base import DATASETS, Array, Events, Recordings
from zoo.data.binning import Plane
from zoo.data.digest import of_files
from zoo.data.places import local_path, require_file
from zoo.data.recordings import dat_ends, read_part

SENSOR: Plane = (240, 304)
CLASSES = ("car", "pedestrian")
WINDOW, SKIPPED = 100_000, 500_000  # us
SIDE, DIAGONAL = 10.0, 30.0
EVENTS, BOXES = "_td.dat", "_bbox.npy"
_FORM = (
    "write gen1:ROOT with the official files unpacked as ROOT/train/NAME_td.dat, "
    "ROOT/train/NAME_bbox.npy, and the same in ROOT/test"
)
_FIELDS = ("x", "y", "w", "h")
_BOX = "a box is ts (or t), x, y, w, h and class_id"
_LIMITS = np.array([SENSOR[1], SENSOR[0]] * 2, dtype=np.float64)


@dataclass(frozen=True)
class _Moment:
    """A labelled time of a recording and its boxes (n, 5) as `convsnn.measure.boxes` has them."""

    path: Path
    time: int
    boxes: Array


@dataclass(frozen=True)
class _Boxes:
    """A table as it stands: `times` (n,) int64, `corners` (n, 4), which are the edges left, top,
    right and bottom in pixels, and `classes` (n,)."""

    times: Array
    corners: Array
    classes: Array


@DATASETS.register("gen1")
def gen1(place: str) -> tuple[Recordings, Recordings]:
    """Prophesee's Gen1 as published, unpacked: ROOT/train/*_td.dat, *_bbox.npy, and ROOT/test."""
    root = local_path(place, what="gen1", hint=_FORM)
    train, test = (_split(root, split, f"gen1:{place}") for split in ("train", "test"))
    return train, test


def _split(root: Path, split: str, source: str) -> Recordings:
    paths = sorted((root / split).glob(f"*{EVENTS}"))
    if not paths:
        raise LoadError(f"{source}: {root / split} holds no *{EVENTS}", hint=_FORM)
    tables = [path.with_name(path.name.removesuffix(EVENTS) + BOXES) for path in paths]
    boxes = [_read_boxes(table) for table in tables]
    corners = np.concatenate([one.corners for one in boxes])
    if len(corners) and not ((corners[:, :2] < _LIMITS[:2]) & (corners[:, 2:] > 0)).all(1).any():
        raise LoadError(
            f"{source}: all boxes of {split} lie outside of the sensor of {SENSOR[0]}x{SENSOR[1]}",
            hint="give recordings of Gen1; other sensors are larger",
        )
    found = [
        moment
        for path, table, one in zip(paths, tables, boxes, strict=True)
        for moment in _moments(path, table, one)
    ]
    if not found:
        raise LoadError(f"{source}: no box of {split} is large enough to be looked for", hint=_FORM)
    return Recordings(
        source, split, len(found), _reader(found), None, None, SENSOR,
        contents=partial(of_files, root, [*paths, *tables]), other=_filled(found),
        class_names=CLASSES,
    )  # fmt: skip


def _reader(moments: Sequence[_Moment]) -> Callable[[int], Events]:
    def read(number: int) -> Events:
        one = moments[number]
        return read_part(one.path, one.time - WINDOW, one.time, sensor=SENSOR)

    return read


def _filled(moments: Sequence[_Moment]) -> Tensor:
    """The boxes of all moments, (N, M, 5)."""
    most = max(len(one.boxes) for one in moments)
    boxes = torch.full((len(moments), most, 5), -1.0)
    for number, one in enumerate(moments):
        boxes[number, : len(one.boxes)] = torch.from_numpy(one.boxes)
    return boxes


def _moments(path: Path, table: Path, held: _Boxes) -> list[_Moment]:
    """The labelled times of one recording that have boxes to be looked for."""
    times = held.times
    try:
        end = dat_ends(path)
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror or error}") from None
    if len(times) and int(times.max()) - WINDOW > end:
        raise LoadError(
            f"{path} ends at {end} us, but {table.name} has boxes at {int(times.max())} us",
            hint="the recording is cut off; get it again",
        )
    corners = held.corners.clip(0, _LIMITS)
    sides = corners[:, 2:] - corners[:, :2]
    kept = (sides >= SIDE).all(1) & (np.hypot(*sides.T) >= DIAGONAL) & (times > SKIPPED)
    size = _LIMITS[:2]
    boxes = np.concatenate([corners[:, :2] / size, sides / size, held.classes[:, None]], 1)
    return [
        _Moment(path, int(time), boxes[kept & (times == time)].astype(np.float32))
        for time in np.unique(times[kept])
    ]


def _read_boxes(path: Path) -> _Boxes:
    """LoadError for a file that holds no boxes, or some of no place, size or known class."""
    require_file(path, hint=f"the boxes of a recording lie beside it; {_FORM}")
    try:
        held = np.load(path, allow_pickle=False, mmap_mode="r")
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror or error}") from None
    except Exception:  # of many kinds; numpy's texts tell of pickle, which is never the way out
        raise LoadError(
            f"{path} is damaged, or no .npy file of numbers", hint="get it again"
        ) from None
    names = held.dtype.names if isinstance(held, np.ndarray) else None
    if names is None or held.ndim != 1:
        raise LoadError(f"{path} is no list of boxes", hint=_BOX)
    time = "t" if "t" in names else "ts"
    if missing := [name for name in (time, *_FIELDS, "class_id") if name not in names]:
        raise LoadError(f"{path} holds boxes without {', '.join(missing)}", hint=_BOX)
    if any(held.dtype[name].kind not in "iuf" for name in (time, *_FIELDS, "class_id")):
        raise LoadError(f"{path} holds boxes of {held.dtype}", hint=_BOX)
    x, y, width, height = (held[name].astype(np.float64) for name in _FIELDS)
    corners = np.stack([x, y, x + width, y + height], 1)
    wrong = ~np.isfinite(corners).all(1) | (width < 0) | (height < 0)
    if wrong.any():
        raise LoadError(f"box {int(wrong.argmax())} of {path} has no place or size", hint=_BOX)
    classes = held["class_id"].astype(np.int64)
    unknown = (classes < 0) | (classes >= len(CLASSES))
    if unknown.any():
        raise LoadError(
            f"box {int(unknown.argmax())} of {path} is of class {int(classes[unknown][0])}",
            hint=f"classes are {', '.join(f'{i} {name}' for i, name in enumerate(CLASSES))}",
        )
    return _Boxes(held[time].astype(np.int64), corners, classes)
