"""Ops that move, join or scale values: exact for spikes at every step."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from convsnn.graph.ops.base import op


@op("add")
def add(a: Tensor, b: Tensor) -> Tensor:
    """Sum of two data values."""
    return a + b


@op("sub")
def sub(a: Tensor, b: Tensor) -> Tensor:
    """Difference of two data values."""
    return a - b


@op("add_constant")
def add_constant(x: Tensor, constant: Tensor) -> Tensor:
    """x + constant; the constant has batch axis 1 and the rank of x."""
    return x + constant


@op("scale")
def scale(x: Tensor, factor: Tensor) -> Tensor:
    """x * factor; the factor has batch axis 1 and the rank of x."""
    return x * factor


@op("concat")
def concat(*inputs: Tensor, dim: int) -> Tensor:
    """Join along axis `dim`."""
    return torch.cat(inputs, dim)


@op("slice")
def slice_(x: Tensor, *, dim: int, start: int, stop: int, step: int = 1) -> Tensor:
    """Elements start, start + step, ... below stop of axis `dim`."""
    return x[(slice(None),) * dim + (slice(start, stop, step),)]


@op("pad")
def pad(x: Tensor, *, pads: Sequence[int]) -> Tensor:
    """Zero padding; `pads` as `F.pad` takes it: last axis first, (begin, end) pairs."""
    return F.pad(x, list(pads))


@op("reshape")
def reshape(x: Tensor, *, shape: Sequence[int]) -> Tensor:
    """Each sample brought to `shape`."""
    return x.reshape(x.shape[0], *shape)


@op("permute")
def permute(x: Tensor, *, dims: Sequence[int]) -> Tensor:
    """Axes in the order `dims`; dims[0] is 0."""
    return x.permute(*dims)


@op("identity")
def identity(
    x: Tensor, *, place: int | None = None, labels: Sequence[object] | None = None
) -> Tensor:
    """x itself: what dropout and the like are at inference.

    One that stands for an output says which of the original's it is (`place`), and the decision
    that was cut off behind it (`labels`); see `convsnn.passes.outputs`.
    """
    del place, labels
    return x
