"""What every split of a data set offers, once it is ready for one network."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from torch import Tensor


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
