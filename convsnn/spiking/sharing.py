"""Work on one set of images by several processes: what they tell one another, as plain tensors."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, runtime_checkable

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

    def most(self, value: Tensor) -> Tensor:
        """The largest over all processes, element by element."""
        ...

    def first(self, value: Tensor) -> Tensor:
        """The one of process 0."""
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

    def most(self, value: Tensor) -> Tensor:
        """See `Share`."""
        return value

    def first(self, value: Tensor) -> Tensor:
        """See `Share`."""
        return value


ALONE = Alone()


def part_of(share: Share, total: int, *, batch_size: int) -> range:
    """The samples, of `total` in order, that fall to this process.

    They are whole batches of those that one process would run, so that every sum is added up in
    the same order there and here. Where there are fewer batches than processes some get nothing,
    process 0 never.
    """
    batches = -(-total // batch_size)
    first, last = (-(-batches * n // share.count) for n in (share.number, share.number + 1))
    return range(min(first * batch_size, total), min(last * batch_size, total))


@runtime_checkable
class Divisible(Protocol):
    """Batches that can tell the part of a process without reading those of the others."""

    def dealt(self, share: Share) -> Iterable[tuple[int, Tensor]]:
        """The batches of this process, each with the number of its first image."""
        ...


def own_batches(share: Share, batches: Iterable[Tensor]) -> Iterator[tuple[int, Tensor]]:
    """The `batches` that fall to this process, every `count`-th, each with the number of its first
    image; none where there are more processes than batches."""
    if share.count > 1 and isinstance(batches, Divisible):
        yield from batches.dealt(share)
        return
    yield from islice(_numbered(batches), share.number, None, share.count)


def _numbered(batches: Iterable[Tensor]) -> Iterator[tuple[int, Tensor]]:
    seen = 0
    for batch in batches:
        yield seen, batch
        seen += len(batch)
