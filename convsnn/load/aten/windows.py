"""Windows of a value side by side, and put together again: unfold, im2col, col2im."""

from math import prod
from typing import Any

import torch

from convsnn.load.aten.base import Blocked, Data, Lowering, aten

WIDEST = 256  # slices that the windows of one axis may be put together from


@aten("unfold")
def unfold(lowering: Lowering, *, dimension: int, size: int, step: int, **arguments: Any) -> str:
    """Windows along one axis, each laid out on a new last axis (Tensor.unfold)."""
    x: Data = arguments["self"]
    rank = len(x.shape) + 1
    dim = dimension % rank
    if dim == 0:
        raise Blocked("it works along the batch axis")
    if size > WIDEST:
        raise Blocked(f"its windows hold {size} elements")
    emit, count = lowering.builder.emit, (x.shape[dim - 1] - size) // step + 1
    stop = step * (count - 1) + 1
    whole = [*x.shape[: dim - 1], count, *x.shape[dim:], 1]
    parts = []
    for place in range(size):  # this element of every window
        part = emit("slice", x.name, dim=dim, start=place, stop=place + stop, step=step)
        parts.append(emit("reshape", part, shape=whole))
    return parts[0] if len(parts) == 1 else emit("concat", *parts, dim=rank)


def _ones(kernel: list[int], channels: int) -> torch.Tensor:
    """A kernel for every place of a window, with its 1 there."""
    return torch.eye(prod(kernel)).reshape(-1, 1, *kernel).repeat(channels, 1, 1, 1)


@aten("im2col")
def im2col(
    lowering: Lowering, *, kernel_size: Any, dilation: Any, padding: Any, stride: Any, **rest: Any
) -> str:
    """Windows laid out as channels (F.unfold): a convolution with one 1 in every kernel."""
    x: Data = rest["self"]
    channels, kernel = x.shape[0], [int(k) for k in kernel_size]
    name = lowering.builder.emit(
        "conv",
        x.name,
        lowering.filled(_ones(kernel, channels), "weight"),
        stride=list(stride),
        padding=list(padding) * 2,
        dilation=list(dilation),
        groups=channels,
    )
    return lowering.builder.emit("reshape", name, shape=list(lowering.shape))


@aten("col2im")
def col2im(
    lowering: Lowering, *, output_size: Any, kernel_size: Any, dilation: Any, padding: Any,
    stride: Any, **rest: Any,
) -> str:  # fmt: skip
    """Windows added up where they overlap (F.fold): the transposed convolution of `im2col`."""
    x: Data = rest["self"]
    sizes = zip(output_size, kernel_size, dilation, padding, stride, strict=True)
    counts, short = [], []
    for size, kernel, gap, border, step in sizes:
        over = size + 2 * border - gap * (kernel - 1) - 1
        counts.append(over // step + 1)
        short.append(over % step)
    kernel = [int(k) for k in kernel_size]
    emit = lowering.builder.emit
    name = emit("reshape", x.name, shape=[x.shape[0], *counts])
    return emit(
        "conv_transpose",
        name,
        lowering.filled(_ones(kernel, x.shape[0] // prod(kernel)), "weight"),
        stride=list(stride),
        padding=list(padding) * 2,
        output_padding=short,
        dilation=list(dilation),
        groups=x.shape[0] // prod(kernel),
    )
