"""One data set scored by several processes: how what each found becomes a whole."""

from collections.abc import Sequence

import torch
from torch import Tensor

from convsnn.spiking.sharing import Alone, Share, part_of

__all__ = ["Alone", "Share", "joined", "part_of", "rows_of_all"]


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
