"""Digits seen by a simulated event camera that moves as N-MNIST's did: `saccades`.

The camera makes three saccades along a triangle (Orchard et al. 2015), here of 20 steps and 5 ms a
step. A pixel sends an event where its brightness has changed by `LEVEL` since its last one, of
polarity 1 where it grew. Nothing is random: a digit always gives the same events.
"""

from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np

from convsnn.errors import ConfigError
from zoo.data.base import DATASETS, Array, Events, Recordings
from zoo.data.binning import Plane
from zoo.data.embedded import mnist_digits
from zoo.data.stored import Stored

SENSOR: Plane = (34, 34)
STEPS, STEP_US = 20, 5_000  # of a saccade, and the time between two of its pictures
REACH = 3.0  # pixels that a saccade moves down and right or left; the second comes back up
LEVEL = 0.2  # of full brightness
_CORNERS = ((-1.0, -1.0), (1.0, 0.0), (-1.0, 1.0), (-1.0, -1.0))  # row and column, in half reaches


@DATASETS.register("saccades")
def saccades(place: str = "") -> tuple[Recordings, Recordings]:
    """The digits of mnist5k as events of a simulated camera of 34x34 that moves before them."""
    if place:
        raise ConfigError(f"data set 'saccades' takes no '{place}'", hint="write just saccades")
    train, test = (_recorded(part) for part in mnist_digits())
    return train, test


def _recorded(part: Stored) -> Recordings:
    def read(number: int) -> Events:
        (image,) = part.read([number])
        return seen(image[0, 0].numpy().astype(np.float64) / 255)

    contents = partial(replace(part, source="saccades").digest)
    return Recordings(
        "saccades", part.split, part.count, read, part.labels, part.classes, SENSOR,
        contents=contents,
    )  # fmt: skip


def seen(image: Array) -> Events:
    """The events of one picture (28, 28) of brightness 0 to 1."""
    known = _moved(image, *_path()[0])
    found: list[Array] = []
    for step, (row, column) in enumerate(_path()[1:]):
        change = _moved(image, row, column) - known
        y, x = np.nonzero(np.abs(change) >= LEVEL)
        grew = change[y, x] > 0
        known[y, x] += change[y, x]
        when = np.full(len(y), (step + 1) * STEP_US)
        found.append(np.stack([when, x, y, grew.astype(np.int64)]))
    t, x, y, p = np.concatenate(found, 1)
    return Events(t, x, y, p)


def _path() -> list[tuple[float, float]]:
    """Where the camera looks at every step, from the middle of the picture."""
    corners = np.array(_CORNERS) * REACH / 2
    part = np.arange(STEPS) / STEPS
    ways = [a + (b - a) * part[:, None] for a, b in pairwise(corners)]
    return [(float(r), float(c)) for r, c in [*np.concatenate(ways), corners[-1]]]


def _moved(image: Array, row: float, column: float) -> Array:
    """The picture on the sensor, moved by parts of pixels (bilinear)."""
    whole = np.zeros(SENSOR)
    margin = [(full - size) // 2 for full, size in zip(SENSOR, image.shape, strict=True)]
    top, left = int(np.floor(row)), int(np.floor(column))
    down, right = row - top, column - left
    for dy, share in ((0, 1 - down), (1, down)):
        for dx, other in ((0, 1 - right), (1, right)):
            y, x = margin[0] + top + dy, margin[1] + left + dx
            whole[y : y + image.shape[0], x : x + image.shape[1]] += image * share * other
    return whole
