"""Chosen images of one split, and how a report names a split."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from convsnn.spiking.sharing import Share
from zoo.data import Part


@dataclass(frozen=True)
class Chosen:
    """Chosen images of one split, without labels, that can be iterated any number of times."""

    part: Part
    indices: list[int]
    batch_size: int
    device: torch.device

    def __iter__(self) -> Iterator[Tensor]:
        for x, _ in self.part.batches(self.batch_size, indices=self.indices):
            yield x.to(self.device)

    def __len__(self) -> int:
        """How many batches there are."""
        return -(-len(self.indices) // self.batch_size)

    def dealt(self, share: Share) -> Iterator[tuple[int, Tensor]]:
        """See `Divisible`."""
        size = self.batch_size
        starts = range(share.number * size, len(self.indices), share.count * size)
        rows = [row for start in starts for row in self.indices[start : start + size]]
        yield from zip(starts, replace(self, indices=rows), strict=True)


def describe_part(part: Part, samples: int) -> dict[str, Any]:
    """A split as the report names it."""
    return {"source": part.source, "split": part.split, "samples": samples}
