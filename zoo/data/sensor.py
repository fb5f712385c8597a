"""The sensor that recordings were made with: what a file says, or what its events show.

One event far away from all others would make a sensor of it that squashes every recording into a
corner, so such a sensor is not guessed.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from convsnn.errors import LoadError
from convsnn.ranges import SIDE
from zoo.data.binning import Plane
from zoo.data.digest import Array

USUAL = 0.999  # of all events lie where events are usual
FAR = 2  # times as far as those: no event of the same sensor
SPAN = 2**42  # of a recording's clock, 50 days in microseconds; times steps it is below 2^63


def check_size(size: Array, source: str, *, hint: str) -> Plane:
    """Height and width; LoadError where `size` is something else."""
    if size.shape != (2,) or size.dtype.kind not in "iu" or int(size.min()) < 1:
        raise LoadError(f"{source}: size is {size}, not height and width", hint=hint)
    return int(size[0]), int(size[1])


def seen_in(places: Array, offsets: Array, source: str) -> Plane:
    """The smallest sensor of events at rows and columns `places` (n, 2).

    LoadError names the recording of one that lies far from all others.
    """
    plane = []
    for axis, name in enumerate(("row", "column")):
        found = places[:, axis]
        rank = min(len(found) - 1, int(USUAL * len(found)))
        usual = int(np.partition(found, rank)[rank])
        last = int(found.max())
        if last > FAR * (usual + 1) or last >= SIDE:
            place = int(found.argmax())
            raise LoadError(
                f"{source}: recording {recording(offsets, place)} has an event at {name} {last}, "
                f"but nearly all lie below {usual + 1}",
                hint="store the sensor's height and width as size, and leave out what lies outside",
            )
        plane.append(last + 1)
    return plane[0], plane[1]


def check_places(
    places: Array, offsets: Array, size: Plane | None, source: str, *, hint: str
) -> None:
    """LoadError names the first recording with an event outside of the sensor."""
    outside = (places < 0).any(1)
    if size is not None:
        outside |= (places >= np.array(size)).any(1)
    if outside.any():
        first = int(outside.argmax())
        row, column = (int(value) for value in places[first])
        sensor = "" if size is None else f", outside a sensor of {size[0]}x{size[1]}"
        raise LoadError(
            f"{source}: recording {recording(offsets, first)} has an event at row {row}, column "
            f"{column}{sensor}",
            hint=hint,
        )


def check_times(times: Array, offsets: Array, source: str) -> None:
    """LoadError names the first recording whose clock runs over more than can be counted."""
    if not len(times) or int(times.max()) - int(times.min()) < SPAN:
        return
    for number, (start, stop) in enumerate(pairwise(offsets)):
        part = times[start:stop]
        if len(part) and int(part.max()) - int(part.min()) >= SPAN:
            raise LoadError(
                f"{source}: the times of recording {number} run from {int(part.min())} to "
                f"{int(part.max())}, which is no clock",
                hint="store times in microseconds, counted from the recording's start",
            )


def one_sensor(sizes: Sequence[Plane | None], seen: Sequence[Plane], source: str) -> Plane | None:
    """The sensor that both parts share, where a file names it; LoadError where they name two."""
    named = {size for size in sizes if size is not None}
    if len(named) > 1:
        first, second = (f"{height}x{width}" for height, width in sorted(named))
        raise LoadError(
            f"{source}: one file names a sensor of {first}, the other of {second}",
            hint="give both parts recordings of the same sensor",
        )
    if not named:
        return None
    (size,) = named
    most = max(height for height, _ in seen), max(width for _, width in seen)
    if most[0] > size[0] or most[1] > size[1]:
        raise LoadError(
            f"{source}: one file names a sensor of {size[0]}x{size[1]}, the other has events up to "
            f"row {most[0] - 1} and column {most[1] - 1}",
            hint="give both parts recordings of the same sensor",
        )
    return size


def recording(offsets: Array, event: int) -> int:
    """The number of the recording that an event belongs to."""
    return int(np.searchsorted(offsets, event, side="right")) - 1
