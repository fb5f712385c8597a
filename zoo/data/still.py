"""Sequences in the place of which something else is shown: their mean frame, their first frames."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from zoo.data.digest import of_texts
from zoo.data.part import Part


@dataclass(frozen=True)
class _Shown:
    """A split of sequences, shown otherwise; see `Part`."""

    part: Part

    @property
    def source(self) -> str:
        return self.part.source

    @property
    def split(self) -> str:
        return self.part.split

    @property
    def classes(self) -> int | None:
        return self.part.classes

    @property
    def labels(self) -> Tensor | None:
        return self.part.labels

    @property
    def targets(self) -> Tensor | None:
        return self.part.targets

    @property
    def class_names(self) -> tuple[str, ...] | None:
        return getattr(self.part, "class_names", None)

    def __len__(self) -> int:
        return len(self.part)


@dataclass(frozen=True)
class Averaged(_Shown):
    """Images: the mean of each sample's frames."""

    steps = None

    @property
    def digest(self) -> str:
        """See `Part`."""
        return of_texts("mean frame", self.part.steps, self.part.digest)

    def batches(
        self, batch_size: int, *, indices: Sequence[int] | None = None
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """See `Part`."""
        return ((x.mean(1), y) for x, y in self.part.batches(batch_size, indices=indices))


@dataclass(frozen=True)
class FirstFrames(_Shown):
    """Shorter sequences: the first `steps` frames of each sample."""

    steps: int

    @property
    def digest(self) -> str:
        """See `Part`."""
        return of_texts("first", self.steps, self.part.digest)

    def batches(
        self, batch_size: int, *, indices: Sequence[int] | None = None
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """See `Part`."""
        batches = self.part.batches(batch_size, indices=indices)
        return ((x[:, : self.steps], y) for x, y in batches)


def stills(part: Part) -> Part:
    """What the original network is shown of `part`: images as they are, of sequences the mean."""
    return part if part.steps is None else Averaged(part)
