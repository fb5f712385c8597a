"""What a data set is: two stored splits, read in batches that the network can take.

A source is a function of the text behind the colon in `name:place`. It returns both splits as
they are stored; opening adds the preprocessing. Calibration uses `train`, scoring uses `test`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from convsnn.errors import ConfigError, LoadError
from convsnn.random import uniform
from convsnn.registry import Registry
from zoo.data.prepare import prepare
from zoo.data.preprocessing import Preprocessing
from zoo.data.stored import Array, Stored, in_memory

__all__ = [
    "DATASETS",
    "Array",
    "DataSet",
    "Part",
    "Preprocessing",
    "Stored",
    "choose",
    "in_memory",
    "local_path",
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

    def __len__(self) -> int: ...

    def batches(
        self, batch_size: int, *, indices: Sequence[int] | None = None
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Preprocessed float32 samples (B, *input_shape) and labels int64 (B,) or None."""


@dataclass(frozen=True)
class DataSet:
    """Both splits; `name` is the one the data set is registered under."""

    name: str
    train: Part
    test: Part


DATASETS: Registry[tuple[Stored, Stored]] = Registry("data set")


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
                ready.append(
                    prepare(
                        raw,
                        scale=self.stored.scale,
                        settings=self.preprocessing,
                        input_shape=self.input_shape,
                    )
                )
            except ConfigError as error:
                where = f"{self.source} ({self.split}, from sample {numbers[done]})"
                raise ConfigError(f"{where}: {error}", hint=error.hint) from None
            done += len(raw)
        labels = self.stored.labels
        return torch.cat(ready), None if labels is None else labels[list(numbers)]


def open_data(spec: str, *, input_shape: tuple[int, ...], preprocessing: Preprocessing) -> DataSet:
    """Open `name` or `name:place` for a network that takes samples of `input_shape`.

    One sample of each split is read at once, so that data that does not fit fails here. Raises
    LoadError (missing or damaged data), ConfigError (unknown name, shapes that do not fit) and
    MissingExtraError (an optional package).
    """
    name, _, place = (part.strip() for part in spec.partition(":"))
    splits = DATASETS.get(name)(place)
    train, test = (_Prepared(s, tuple(input_shape), preprocessing) for s in splits)
    for part in (train, test):
        next(part.batches(1, indices=[0]))
    return DataSet(name, train, test)


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


def local_path(place: str, *, what: str, hint: str) -> Path:
    """`place` as a path that exists, `~` expanded; LoadError with `hint` otherwise."""
    if not place:
        raise ConfigError(f"{what}: no path is given", hint=hint)
    try:
        path = Path(place).expanduser()
        present = path.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise LoadError(f"{what}: {place!r} cannot be used: {error}", hint=hint) from None
    if not present:
        raise LoadError(f"{what}: {place} does not exist", hint=hint)
    return path
