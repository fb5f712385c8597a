"""What a data set is: two stored splits, read in batches that the network can take.

A source is a function of the text behind the colon in `name:place`. It returns both splits as
they are stored; opening adds the preprocessing. Calibration uses `train`, scoring uses `test`.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from convsnn.errors import ConfigError
from convsnn.random import uniform
from convsnn.registry import Registry
from zoo.data.binning import Binning, Events, Recordings
from zoo.data.digest import Array
from zoo.data.framed import kept
from zoo.data.part import Part
from zoo.data.places import split_spec
from zoo.data.prepare import prepare
from zoo.data.preprocessing import Preprocessing
from zoo.data.still import Averaged
from zoo.data.stored import Stored, checked_labels, in_memory

__all__ = [
    "DATASETS",
    "Array",
    "Binning",
    "DataSet",
    "Events",
    "Part",
    "Preprocessing",
    "Recordings",
    "Stored",
    "checked_labels",
    "choose",
    "class_names",
    "in_memory",
    "open_data",
]

_MANY = (
    "convert, compare and train take them for as many time steps as they have frames "
    "(--timesteps); a network of images is shown their mean where its preprocessing says frames"
)

# Draws that choose samples must not be those that encode them: sites count up from 0.
_CHOICE_SITE = -1


@dataclass(frozen=True)
class DataSet:
    """Both splits; `name` is the one the data set is registered under, `spec` the text that names
    the data and `preprocessing` what is done with it, where that is known."""

    name: str
    train: Part
    test: Part
    spec: str | None = None
    preprocessing: Preprocessing | None = None


DATASETS: Registry[tuple[Stored | Recordings, Stored | Recordings]] = Registry("data set")


@dataclass(frozen=True)
class _Prepared:
    """A stored split with the preprocessing of one network; see `Part`."""

    stored: Stored
    input_shape: tuple[int, ...]
    preprocessing: Preprocessing

    @property
    def source(self) -> str:
        return self.stored.source

    @property
    def split(self) -> str:
        return self.stored.split

    @property
    def classes(self) -> int | None:
        return self.stored.classes

    @property
    def labels(self) -> Tensor | None:
        return self.stored.labels

    @property
    def targets(self) -> Tensor | None:
        return self.stored.targets

    @property
    def steps(self) -> int | None:
        return self.stored.steps

    @property
    def class_names(self) -> tuple[str, ...] | None:
        return self.stored.class_names

    @cached_property
    def digest(self) -> str:
        return self.stored.digest()

    def under(self, preprocessing: Preprocessing) -> "Part":
        """The same samples under other preprocessing."""
        return replace(self, preprocessing=preprocessing)

    def __len__(self) -> int:
        return self.stored.count

    def batches(
        self, batch_size: int, *, indices: Sequence[int] | None = None
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """See `Part`; ConfigError for a batch size below 1 or a sample number out of range."""
        if batch_size < 1:
            raise ConfigError(f"the batch size must be at least 1, not {batch_size}")
        numbers = range(len(self)) if indices is None else indices
        for number in numbers if indices is not None else ():
            if not 0 <= number < len(self):
                raise ConfigError(f"{self.source} ({self.split}) has no sample {number}")
        return (
            self._batch(numbers[start : start + batch_size])
            for start in range(0, len(numbers), batch_size)
        )

    def _batch(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        ready: list[Tensor] = []
        done = 0
        for raw in self.stored.read(numbers):
            try:
                ready.append(self._prepared(raw))
            except ConfigError as error:
                where = f"{self.source} ({self.split}, from sample {numbers[done]})"
                raise ConfigError(f"{where}: {error}", hint=error.hint) from None
            done += len(raw)
        targets = self.targets
        return torch.cat(ready), None if targets is None else targets[list(numbers)]

    def _prepared(self, raw: Tensor) -> Tensor:
        """Every frame of a sequence is prepared as an image is."""
        ready = prepare(
            raw if self.steps is None else raw.flatten(0, 1),
            scale=self.stored.scale,
            settings=self.preprocessing,
            input_shape=self.input_shape,
        )
        return ready if self.steps is None else ready.unflatten(0, (len(raw), self.steps))


def open_data(
    spec: str,
    *,
    input_shape: tuple[int, ...],
    preprocessing: Preprocessing,
    steps: int | None = None,
    still: bool = False,
) -> DataSet:
    """Open `name` or `name:place` for a network that takes samples of `input_shape`.

    Sequences need `steps`, the time steps that the network is run for; images do not change over
    them. With `still`, and without `steps`, a sequence is shown as the mean of its frames, of as
    many as `preprocessing` says, which in the data set says how many there were. One sample of each
    split is read at once, so that data that does not fit fails here.
    Raises LoadError (missing or damaged data), ConfigError (unknown name, shapes that do not fit,
    sequences of other or no steps) and MissingExtraError (an optional package).
    """
    still = still or steps is None
    frames = preprocessing.frames or steps if still else steps
    stored = [_stored(s, tuple(input_shape), preprocessing, frames) for s in _splits(spec)]
    averaged = still and stored[0].steps is not None
    settings = replace(preprocessing, frames=stored[0].steps) if averaged else preprocessing
    train, test = (_Prepared(split, tuple(input_shape), settings) for split in stored)
    for part in (train, test):
        next(part.batches(1, indices=[0]))
    name = split_spec(spec)[0]
    if averaged:
        return DataSet(name, Averaged(train), Averaged(test), spec, settings)
    return DataSet(name, train, test, spec, settings)


def holds_events(spec: str) -> bool:
    """Whether the data are recordings, of which frames are made."""
    return isinstance(_splits(spec)[0], Recordings)


def sample_shape(spec: str) -> tuple[int, ...]:
    """Shape of one sample as the data set stores it, channels first; of a sequence that of one
    frame, of a recording that of its sensor."""
    split, _ = _splits(spec)
    if isinstance(split, Recordings):
        return (1 if split.read(0).p is None else 2, *split.sensor)
    shape = tuple(next(split.read([0])).shape[1:])
    return shape if split.steps is None else shape[1:]


def _splits(spec: str) -> tuple[Stored | Recordings, Stored | Recordings]:
    """Both splits of a registered data set; files without the name of one are told theirs."""
    name, place = split_spec(spec)
    if name not in DATASETS.names() and (name.endswith(".npz") or os.path.exists(name)):
        kind = "folder" if os.path.isdir(name) else "npz"
        raise ConfigError(f"'{spec}' names no kind of data", hint=f"write {kind}:{spec}")
    return DATASETS.get(name)(place)


def _stored(
    split: Stored | Recordings,
    input_shape: tuple[int, ...],
    preprocessing: Preprocessing,
    steps: int | None,
) -> Stored:
    """What is read in order to make samples of `input_shape`, or sequences of `steps` of them."""
    if isinstance(split, Recordings):
        if len(input_shape) != 3:
            raise ConfigError(
                f"{split.source}: events make frames (channels, height, width), which a network "
                f"of input {input_shape} does not take"
            )
        if steps is None:
            raise ConfigError(
                f"{split.source} holds recordings, and nobody says of how many frames an image is "
                "the mean",
                hint=_MANY,
            )
        channels, height, width = input_shape
        plane = (height, width) if preprocessing.resize is None else split.sensor
        binning = preprocessing.binning or Binning()
        made = split.binned(steps, binning, channels=channels, plane=plane)
        return kept(made, steps, binning, channels=channels, plane=plane)
    if split.steps is not None and steps is None:
        raise ConfigError(
            f"{split.source} ({split.split}) holds sequences of {split.steps} frames, not images",
            hint=_MANY,
        )
    if split.steps not in (None, steps):
        raise ConfigError(
            f"{split.source} ({split.split}) holds sequences of {split.steps} frames, but the "
            f"network runs {steps} time steps",
            hint="make frames of as many time steps, or run the network for as many as there are",
        )
    return split


def choose(part: Part, samples: int | None, *, seed: int) -> list[int]:
    """Sorted numbers of `samples` random samples, each at most once; all of them for None.

    The same seed always gives the same choice, and a smaller choice is part of a larger one.
    ConfigError for fewer than one sample.
    """
    return sorted(draw(part, samples, seed=seed))


def draw(part: Part, samples: int | None, *, seed: int) -> list[int]:
    """The samples that `choose` gives, in random order.

    A smaller draw is the beginning of a larger one, so whoever looks at the first few sees a fair
    sample of all, even where the data is stored class by class.
    """
    if samples is not None and samples < 1:
        raise ConfigError(f"the number of samples must be at least 1, not {samples}")
    keys = uniform(seed, torch.arange(len(part)), _CHOICE_SITE, range(1), ())[0]
    return [int(i) for i in keys.argsort(stable=True)[:samples]]


def class_names(part: Part | Stored | Recordings) -> list[str] | None:
    """What the classes of a split are called, in the order of their numbers, where it says so."""
    names = getattr(part, "class_names", None)  # only some data sets have it
    return None if names is None else [str(name) for name in names]
