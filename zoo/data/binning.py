"""Recordings of event cameras, and how their events become frames, one a time step.

Events are times, places and polarities (t, x, y, p). Which of T frames an event falls into:

    time     floor((t - t_first) T / (t_last - t_first + 1)), T stretches of the same length
    count    floor(rank / floor(n / T)), frames of the same number of events, those left over
             dropped (Deng et al. 2022, "Temporal efficient training")
    a width  floor((t - t_first) / width), what comes after the last frame dropped

A pixel of a frame holds whether there was an event (binary), how many (count), or how many beside
the busiest pixel of its frame (share; Deng et al. divide so). The sensor is brought to the size
of the network by letting neighbouring pixels share one of the frame's: floor(x width / sensor's).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from convsnn.errors import ConfigError
from zoo.data.digest import Array
from zoo.data.stored import Stored

By = Literal["time", "count"]
Value = Literal["binary", "count", "share"]
Plane = tuple[int, int]


@dataclass(frozen=True)
class Binning:
    """How events become frames: `by` is "time", "count" or the width of a frame in units of the
    recording's clock, `value` what a pixel holds. ConfigError for what is neither."""

    by: By | int = "time"
    value: Value = "binary"

    def __post_init__(self) -> None:
        width = isinstance(self.by, int) and not isinstance(self.by, bool) and self.by > 0
        if not width and self.by not in get_args(By):
            raise ConfigError(
                f"events are binned by time, by count or by a width, not by {self.by!r}",
                hint="a width is a whole number in units of the recording's clock",
            )
        if self.value not in get_args(Value):
            raise ConfigError(
                f"a pixel of a frame holds one of {', '.join(get_args(Value))}, not {self.value!r}"
            )


@dataclass(frozen=True)
class Events:
    """One recording: `t`, `x`, `y` int64 (n,) and polarities `p`, 0 or 1, or None."""

    t: Array
    x: Array
    y: Array
    p: Array | None


@dataclass(frozen=True)
class Recordings:
    """One split of recordings; `read` gives that of a number.

    `labels`, `classes`, `contents`, `other`, like boxes, and `class_names` are those of `Stored`.
    `sensor` is height and width; where it is only `seen` in the events the real one may be larger.
    """

    source: str
    split: str
    count: int
    read: Callable[[int], Events]
    labels: Tensor | None
    classes: int | None
    sensor: Plane
    seen: bool = False
    contents: Callable[[], str] | None = None
    other: Tensor | None = None
    class_names: tuple[str, ...] | None = None

    def binned(self, steps: int, binning: Binning, *, channels: int, plane: Plane) -> Stored:
        """The same split as sequences of `steps` frames (channels, *plane).

        One channel takes events of both polarities, two one each (0, then 1). ConfigError where
        `channels` or `plane` cannot be had.
        """
        if channels not in (1, 2):
            raise ConfigError(
                f"{self.source}: events give frames of one or two channels, not {channels}",
                hint="use a network that takes one channel, or one for each polarity",
            )
        sensor = self.sensor
        if self.seen:
            sensor = max(sensor[0], plane[0]), max(sensor[1], plane[1])
        if sensor[0] < plane[0] or sensor[1] < plane[1]:
            raise ConfigError(
                f"{self.source}: events of a sensor of {_by(sensor)} do not fill the "
                f"network's {_by(plane)}",
                hint="use a network for frames no larger than the sensor",
            )

        def read(numbers: Sequence[int]) -> Iterator[Tensor]:
            for number in numbers:
                events = self.read(number)
                if channels == 2 and events.p is None:
                    raise ConfigError(
                        f"{self.source}: the events have no polarity, and the network takes two",
                        hint="use a network of one channel, or events with a column p",
                    )
                found = frames(
                    events, steps, binning, channels=channels, sensor=sensor, plane=plane
                )
                yield torch.from_numpy(found)[None]

        return Stored(
            self.source, self.split, self.count, read, self.labels, self.classes, 1.0, steps,
            contents=self.contents, other=self.other, class_names=self.class_names,
        )  # fmt: skip


def frames(
    events: Events, steps: int, binning: Binning, *, channels: int, sensor: Plane, plane: Plane
) -> Array:
    """One recording as (steps, channels, *plane): uint8 where binary, else float32."""
    step = _steps(events.t, steps, binning.by)
    kept = (step >= 0) & (step < steps)
    down, right = (
        places * size // whole
        for places, size, whole in zip((events.y, events.x), plane, sensor, strict=True)
    )
    channel = np.zeros_like(step) if channels == 1 or events.p is None else events.p
    shape = (steps, channels, *plane)
    places = np.ravel_multi_index(tuple(part[kept] for part in (step, channel, down, right)), shape)
    counts = np.bincount(places, minlength=int(np.prod(shape))).reshape(shape)
    if binning.value == "binary":
        return (counts > 0).astype(np.uint8)
    if binning.value == "count":
        return counts.astype(np.float32)
    most = counts.max(axis=(1, 2, 3), keepdims=True).clip(min=1)
    return (counts / most).astype(np.float32)


def _steps(times: Array, steps: int, by: By | int) -> Array:
    """The frame that each event falls into; those not below `steps` have none."""
    if not len(times):
        return times
    if by == "count":
        rank = np.empty_like(times)
        rank[np.argsort(times, kind="stable")] = np.arange(len(times))
        return rank // max(1, len(times) // steps)
    since = times - times.min()
    return since // by if isinstance(by, int) else since * steps // (since.max() + 1)


def _by(plane: Plane) -> str:
    return f"{plane[0]}x{plane[1]}"
