"""Shapes that move before a simulated event camera, with the boxes they end in: `shapes`.

One to three bright squares (class 0) and discs (class 1) of 7 to 13 pixels move over the dark
plane of a camera of 32x32 for 100 ms, each on a straight line of 3 to 9 pixels, without touching at
the end. A pixel sends an event where its brightness has changed by `LEVEL` since its last one, of
polarity 1 where it grew, and now and then one for no reason. Boxes are those of the last moment, as
in recordings whose labels stand at a time. Scene n of a split is drawn from the numbers of both
alone, so all are always the same.
"""

from collections.abc import Callable
from functools import cache, partial

import numpy as np
import torch

from convsnn.errors import ConfigError
from zoo.data.base import DATASETS, Array, Events, Recordings
from zoo.data.binning import Plane
from zoo.data.digest import of_texts

SENSOR: Plane = (32, 32)
SCENES = {"train": 1_200, "test": 200}
CLASSES = ("square", "disc")
MOST = 3  # shapes in a scene
MOMENTS, MOMENT_US = 20, 5_000
LEVEL = 0.25  # of full brightness
NOISE = 12  # events without a reason in a scene, on average
_VERSION = 1  # of what is drawn


@DATASETS.register("shapes")
def shapes(place: str = "") -> tuple[Recordings, Recordings]:
    """Squares and discs that move before a simulated camera of 32x32, with their boxes."""
    if place:
        raise ConfigError(f"data set 'shapes' takes no '{place}'", hint="write just shapes")
    train, test = (_split(number, split) for number, split in enumerate(SCENES))
    return train, test


def _split(number: int, split: str) -> Recordings:
    count = SCENES[split]
    boxes = np.stack([scene(number, one)[0] for one in range(count)])
    read: Callable[[int], Events] = cache(lambda one: recorded(number, one))
    return Recordings(
        "shapes", split, count, read, None, None, SENSOR,
        contents=partial(of_texts, "shapes", _VERSION, number, count),
        other=torch.from_numpy(boxes), class_names=CLASSES,
    )  # fmt: skip


def scene(split: int, number: int) -> tuple[Array, Array]:
    """What moves in a scene: boxes (MOST, 5) as `convsnn.measure.boxes` has them, and for each
    shape class, row, column and half the side at the end, and its way down and right, (n, 6)."""
    draw = _drawn(split, number)
    found: list[tuple[float, ...]] = []
    wanted = draw.integers(1, MOST + 1)
    for _ in range(20 * MOST):  # some places are taken
        if len(found) == wanted:
            break
        half = draw.integers(7, 14) / 2
        row, column = (draw.uniform(half, side - half) for side in SENSOR)
        turn, way = draw.uniform(0, 2 * np.pi), draw.uniform(3, 9)
        one = (draw.integers(2), row, column, half, way * np.sin(turn), way * np.cos(turn))
        apart = [
            max(abs(row - other[1]), abs(column - other[2])) > half + other[3] + 1
            for other in found
        ]
        if all(apart):
            found.append(tuple(float(value) for value in one))
    placed = np.array(found)
    boxes = np.full((MOST, 5), -1.0, dtype=np.float32)
    kind, row, column, half = placed[:, :4].T
    sides = np.stack([column - half, row - half, 2 * half, 2 * half], 1)
    boxes[: len(placed), :4] = sides / (SENSOR[1], SENSOR[0], SENSOR[1], SENSOR[0])
    boxes[: len(placed), 4] = kind
    return boxes, placed


def recorded(split: int, number: int) -> Events:
    """The events of a scene."""
    _, placed = scene(split, number)
    known = _seen(placed, 0.0)
    found: list[Array] = []
    for moment in range(1, MOMENTS + 1):
        change = _seen(placed, moment / MOMENTS) - known
        y, x = np.nonzero(np.abs(change) >= LEVEL)
        grew = change[y, x] > 0
        known[y, x] += change[y, x]
        found.append(np.stack([np.full(len(y), moment * MOMENT_US), x, y, grew.astype(np.int64)]))
    draw = _drawn(split, number, 1)
    stray = draw.poisson(NOISE)
    limits = (MOMENTS * MOMENT_US + 1, SENSOR[1], SENSOR[0], 2)
    found.append(np.stack([draw.integers(0, limit, stray) for limit in limits]))
    joint = np.concatenate(found, 1)
    t, x, y, p = joint[:, np.argsort(joint[0], kind="stable")]
    return Events(t, x, y, p)


def _drawn(split: int, number: int, what: int = 0) -> np.random.Generator:
    return np.random.default_rng((_VERSION, split, number, what))


def _seen(placed: Array, part: float) -> Array:
    """Brightness of every pixel when `part` of the way is gone; edges are a pixel wide."""
    down, right = np.mgrid[: SENSOR[0], : SENSOR[1]] + 0.5
    plane = np.zeros(SENSOR)
    for kind, row, column, half, way_down, way_right in placed:
        y = np.abs(down - row + (1 - part) * way_down)
        x = np.abs(right - column + (1 - part) * way_right)
        reach = np.hypot(x, y) if kind == CLASSES.index("disc") else np.maximum(x, y)
        plane = np.maximum(plane, np.clip(half - reach + 0.5, 0, 1))
    return plane
