"""Ops with weights: convolution, transposed convolution, fully connected, batch norm."""

from collections.abc import Sequence
from math import prod

import torch.nn.functional as F
from torch import Tensor

from convsnn.graph.ops.base import Shape, op

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def split_padding(padding: Sequence[int]) -> tuple[list[int], list[int] | None]:
    """Symmetric padding as torch wants it, else zeros and the list for `F.pad`."""
    half = len(padding) // 2
    begin, end = list(padding[:half]), list(padding[half:])
    if begin == end:
        return begin, None
    return [0] * half, [p for pair in zip(begin[::-1], end[::-1], strict=True) for p in pair]


def _conv_macs(weight: Shape, _input: Shape, output: Shape) -> int:
    return prod(weight) * prod(output[1:])


def _conv_transpose_macs(weight: Shape, input: Shape, _output: Shape) -> int:
    return prod(weight) * prod(input[1:])


def _linear_macs(weight: Shape, _input: Shape, output: Shape) -> int:
    return prod(weight) * prod(output[:-1])


@op("conv", macs=_conv_macs)
def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int = 1,
) -> Tensor:
    """Convolution over 1, 2 or 3 spatial axes; weight (out, in / groups, *kernel)."""
    symmetric, pads = split_padding(padding)
    if pads is not None:
        x = F.pad(x, pads)
    run = _CONV[weight.dim() - 2]
    return run(x, weight, bias, list(stride), symmetric, list(dilation), groups)


@op("conv_transpose", macs=_conv_transpose_macs)
def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: Sequence[int],
    padding: Sequence[int],
    output_padding: Sequence[int],
    dilation: Sequence[int],
    groups: int = 1,
) -> Tensor:
    """Transposed convolution; weight (in, out / groups, *kernel), padding symmetric."""
    run = _CONV_TRANSPOSE[weight.dim() - 2]
    symmetric = list(padding[: len(padding) // 2])
    return run(
        x, weight, bias, list(stride), symmetric, list(output_padding), groups, list(dilation)
    )


@op("linear", macs=_linear_macs)
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Fully connected over the last axis; weight (out, in)."""
    return F.linear(x, weight, bias)


@op("batch_norm")
def batch_norm(
    x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, *, epsilon: float
) -> Tensor:
    """Batch norm with fixed statistics over axis 1."""
    return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, epsilon)
