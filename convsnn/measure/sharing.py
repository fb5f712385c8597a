"""One data set scored by several processes: what they tell one another, as plain tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Share(Protocol):
    """The part of the work that this process has: `number` of `count`, from 0.

    All processes make the same calls in the same order, with tensors of the same shape.
    """

    @property
    def number(self) -> int:
        """Which of the processes this is; 0 is the one that prints and writes."""

    @property
    def count(self) -> int:
        """How many there are."""

    def agree(self, numbers: Sequence[int]) -> list[int]:
        """The numbers that process 0 gave."""
        ...

    def add(self, value: Tensor) -> Tensor:
        """The sum over all processes."""
        ...

    def least(self, value: Tensor) -> Tensor:
        """The smallest over all processes, element by element."""
        ...


@dataclass(frozen=True)
class Alone:
    """All of the work in this process."""

    number: int = 0
    count: int = 1

    def agree(self, numbers: Sequence[int]) -> list[int]:
        """See `Share`."""
        return list(numbers)

    def add(self, value: Tensor) -> Tensor:
        """See `Share`."""
        return value

    def least(self, value: Tensor) -> Tensor:
        """See `Share`."""
        return value


def part_of(share: Share, total: int, *, batch_size: int) -> range:
    """The samples, of `total` in order, that fall to this process.

    They are whole batches of those that one process would run, so that every sum is added up in
    the same order there and here. Where there are fewer batches than processes some get nothing,
    process 0 never.
    """
    batches = -(-total // batch_size)
    first, last = (-(-batches * n // share.count) for n in (share.number, share.number + 1))
    return range(min(first * batch_size, total), min(last * batch_size, total))


def joined(
    share: Share,
    parts: Sequence[Tensor],
    shape: tuple[int, ...],
    *,
    first: int,
    dtype: torch.dtype = torch.int64,
) -> Tensor:
    """What all processes found, (..., samples) of `shape`, in the samples' order.

    `parts` are those of this one, (..., some samples) each, one behind the other from the sample
    `first` on; their type is `dtype`, or stays as it is where there is one process.
    """
    if share.count == 1:
        return torch.cat(list(parts), -1)
    found = torch.zeros(shape, dtype=dtype)
    if parts:
        mine = torch.cat(list(parts), -1)
        found[..., first : first + mine.shape[-1]] = mine
    return share.add(found)


def rows_of_all(share: Share, rows: Tensor) -> Tensor:
    """The rows (n, width) of all processes, those of the first process first."""
    counts = torch.zeros(share.count, dtype=torch.int64)
    counts[share.number] = len(rows)
    counts = share.add(counts)
    found = torch.zeros(int(counts.sum()), rows.shape[1], dtype=rows.dtype)
    start = int(counts[: share.number].sum())
    found[start : start + len(rows)] = rows
    return share.add(found)
