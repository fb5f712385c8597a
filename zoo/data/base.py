"""What a data set is: two stored splits, read in batches that the network can take.

A source is a function of the text behind the colon in `name:place`. It returns both splits as
they are stored; opening adds the preprocessing. Calibration uses `train`, scoring uses `test`.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from convsnn.errors import ConfigError
from convsnn.random import uniform
from convsnn.registry import Registry
from zoo.data.binning import Binning, Events, Recordings
from zoo.data.digest import Array
from zoo.data.places import split_spec
from zoo.data.prepare import prepare
from zoo.data.preprocessing import Preprocessing
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

# Draws that choose samples must not be those that encode them: sites count up from 0.
_CHOICE_SITE = -1


class Part(Protocol):
    """One split, ready for one network; `classes` is None where there are no labels."""

    @property
    def source(self) -> str:
        """Where the samples come from, for the report."""

    @property
    def split(self) -> str:
        """Which of the two it is: train or test."""

    @property
    def classes(self) -> int | None:
        """Number of classes."""

    @property
    def labels(self) -> Tensor | None:
        """Class numbers int64 (N,) of all samples, where there are any."""

    @property
    def targets(self) -> Tensor | None:
        """What all samples are to be answered with, (N, ...): class numbers, or whatever else."""

    @property
    def steps(self) -> int | None:
        """Time steps of its samples where these are sequences, of a frame each."""

    @property
    def digest(self) -> str:
        """A text that differs where any stored sample or label does; see `zoo.data.digest`."""

    def __len__(self) -> int: ...

    def batches(
        self, batch_size: int, *, indices: Sequence[int] | None = None
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Preprocessed float32 samples (B, *input_shape), or sequences (B, steps, *input_shape),
        and targets (B, ...), which are class numbers int64 (B,) where there are any, or None."""


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
) -> DataSet:
    """Open `name` or `name:place` for a network that takes samples of `input_shape`.

    Sequences need `steps`, the time steps that the network is run for; images do not change over
    them. One sample of each split is read at once, so that data that does not fit fails here.
    Raises LoadError (missing or damaged data), ConfigError (unknown name, shapes that do not fit,
    sequences of other or no steps) and MissingExtraError (an optional package).
    """
    train, test = (
        _Prepared(
            _stored(split, tuple(input_shape), preprocessing, steps),
            tuple(input_shape),
            preprocessing,
        )
        for split in (find_images(spec) if steps is None else _splits(spec))
    )
    for part in (train, test):
        next(part.batches(1, indices=[0]))
    return DataSet(split_spec(spec)[0], train, test, spec, preprocessing)


def find_images(spec: str) -> tuple[Stored, Stored]:
    """Both splits as they are stored; ConfigError where the samples are sequences."""
    train, test = _splits(spec)
    if isinstance(train, Stored) and isinstance(test, Stored) and train.steps is None:
        return train, test
    raise ConfigError(
        f"{train.source} holds sequences of frames, but here every time step is shown the same "
        "image",
        hint="train a spiking network on them with convsnn train and score it with evaluate",
    )


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
        if len(input_shape) != 3 or steps is None:
            raise ConfigError(
                f"{split.source}: events make frames (channels, height, width), which a network "
                f"of input {input_shape} does not take"
            )
        channels, height, width = input_shape
        plane = (height, width) if preprocessing.resize is None else split.sensor
        return split.binned(
            steps, preprocessing.binning or Binning(), channels=channels, plane=plane
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
