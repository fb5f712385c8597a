"""Pooling, means over axes, and upsampling."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from convsnn.graph.ops.base import Role, op
from convsnn.graph.ops.weighted import split_padding

_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVG = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_ADAPTIVE = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}


@op("max_pool", Role.MAX_POOL)
def max_pool(
    x: Tensor,
    *,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool = False,
    each_step: bool = False,
) -> Tensor:
    """Maximum over windows; padding counts as minus infinity.

    `each_step` says that a simulation pools the value of each step instead of its running sum.
    """
    del each_step
    symmetric, pads = split_padding(padding)
    if pads is not None:
        x = F.pad(x, pads, value=-torch.inf)
    run = _MAX[len(kernel)]
    return run(x, list(kernel), list(stride), symmetric, list(dilation), ceil_mode)


@op("avg_pool")
def avg_pool(
    x: Tensor,
    *,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Mean over windows; `count_include_pad` as in torch and ONNX."""
    run = _AVG[len(kernel)]
    symmetric, pads = split_padding(padding)
    if pads is None:
        return run(x, list(kernel), list(stride), symmetric, ceil_mode, count_include_pad)
    ones = F.pad(torch.ones_like(x[:1, :1]), pads, value=float(count_include_pad))
    total = run(F.pad(x, pads), list(kernel), list(stride), symmetric, ceil_mode)
    return total / run(ones, list(kernel), list(stride), symmetric, ceil_mode)


@op("adaptive_avg_pool")
def adaptive_avg_pool(x: Tensor, *, size: Sequence[int]) -> Tensor:
    """Mean over windows chosen so that the spatial axes come out as `size`."""
    run: Callable[..., Tensor] = _ADAPTIVE[len(size)]
    return run(x, list(size))


@op("mean")
def mean(x: Tensor, *, dims: Sequence[int], keepdim: bool = False) -> Tensor:
    """Mean over the axes `dims` (never the batch)."""
    return x.mean(list(dims), keepdim)


@op("upsample")
def upsample(
    x: Tensor, *, size: Sequence[int], mode: str, align_corners: bool | None = None
) -> Tensor:
    """Nearest, linear or cubic interpolation of the spatial axes to `size`."""
    return F.interpolate(x, list(size), mode=mode, align_corners=align_corners)
