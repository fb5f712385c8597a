"""Convolution, fully connected layers and batch norm."""

from typing import Any

import torch
from torch import Tensor

from convsnn.graph.ops.pieces import REASONS
from convsnn.load.aten.base import Blocked, Constant, Data, Lowering, aten
from convsnn.load.aten.parts import affine, grouped, product_of
from convsnn.load.builder import product, product_from_left


def _weight(value: Any) -> Constant:
    if not isinstance(value, Constant):
        raise Blocked("its weight depends on the data")
    return value


def _constants(lowering: Lowering, *values: Any) -> list[str]:
    return [lowering.tensor(_weight(v)) for v in values if v is not None]


def _per_axis(value: Any, count: int) -> list[int]:
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return [int(v) for v in (values * count if len(values) == 1 else values)]


def _string_padding(padding: str, kernel: list[int], dilation: list[int]) -> list[int]:
    if padding == "valid":
        return [0] * (2 * len(kernel))
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return [t // 2 for t in total] + [t - t // 2 for t in total]


@aten("conv1d", "conv2d", "conv3d")
def conv(
    lowering: Lowering,
    *,
    input: Data,
    weight: Constant,
    bias: Constant | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> str:
    """Convolution, with numbers or a string as padding."""
    kernel = list(_weight(weight).value.shape[2:])
    n = len(kernel)
    dilation = _per_axis(dilation, n)
    pads = (
        _string_padding(padding, kernel, dilation)
        if isinstance(padding, str)
        else _per_axis(padding, n) * 2
    )
    return lowering.builder.emit(
        "conv",
        input.name,
        *_constants(lowering, weight, bias),
        stride=_per_axis(stride, n),
        padding=pads,
        dilation=dilation,
        groups=groups,
    )


@aten("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def conv_transpose(
    lowering: Lowering,
    *,
    input: Data,
    weight: Constant,
    bias: Constant | None,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> str:
    """Transposed convolution."""
    n = _weight(weight).value.dim() - 2
    return lowering.builder.emit(
        "conv_transpose",
        input.name,
        *_constants(lowering, weight, bias),
        stride=_per_axis(stride, n),
        padding=_per_axis(padding, n) * 2,
        output_padding=_per_axis(output_padding, n),
        dilation=_per_axis(dilation, n),
        groups=groups,
    )


@aten("linear")
def linear(lowering: Lowering, *, input: Data, weight: Constant, bias: Constant | None) -> str:
    """Fully connected over the last axis."""
    return lowering.builder.emit("linear", input.name, *_constants(lowering, weight, bias))


@aten("matmul", "mm", "bmm")
def matmul(lowering: Lowering, **arguments: Any) -> str:
    """A product with constant matrices on either side, or of two values."""
    left: Any = arguments["self"]
    right: Any = arguments.get("other", arguments.get("mat2"))
    if isinstance(left, Data) and isinstance(right, Data):
        return product_of(lowering, left, right, "matmul")
    on_right = isinstance(left, Data)
    x: Data = left if on_right else right
    factor: Tensor = right.value if on_right else left.value
    if factor.dim() == len(x.shape) + 1 and factor.shape[0] == 1:
        factor = factor[0]
    builder, fits = lowering.builder, 1 < factor.dim() <= len(x.shape)
    if on_right and (fits or factor.dim() == 2):
        return product(builder, x.name, x.shape, factor)
    if fits:
        return product_from_left(builder, factor, x.name, x.shape)
    raise Blocked("a product with a constant of this shape is not read", "")


@aten("addmm")
def addmm(lowering: Lowering, *, mat1: Any, mat2: Any, beta: Any, alpha: Any, **rest: Any) -> str:
    """bias + x @ matrix."""
    bias = rest["self"]
    if not isinstance(mat1, Data) or not isinstance(mat2, Constant) or isinstance(bias, Data):
        raise Blocked(REASONS["product"], "")
    weight = lowering.filled(mat2.value.t().contiguous() * alpha, "weight")
    offset = torch.broadcast_to(bias.value * beta, (mat2.value.shape[1],)).contiguous()
    return lowering.builder.emit("linear", mat1.name, weight, lowering.filled(offset, "bias"))


@aten("_native_batch_norm_legit_no_training")
def batch_norm(
    lowering: Lowering,
    *,
    input: Data,
    weight: Constant | None,
    bias: Constant | None,
    running_mean: Constant,
    running_var: Constant,
    momentum: float,
    eps: float,
) -> str:
    """Batch norm with its running statistics."""
    del momentum
    channels = input.shape[int(input.folded)]

    def or_filled(value: Constant | None, role: str, number: float) -> str:
        full: Tensor = torch.full((channels,), number)
        return lowering.filled(full, role) if value is None else lowering.tensor(value)

    if input.folded:
        return _channels_second(lowering, input, weight, bias, running_mean, running_var, eps)
    return lowering.builder.emit(
        "batch_norm",
        input.name,
        or_filled(weight, "weight", 1.0),
        or_filled(bias, "bias", 0.0),
        lowering.tensor(running_mean),
        lowering.tensor(running_var),
        epsilon=eps,
    )


def _channels_second(
    lowering: Lowering, x: Data, weight: Any, bias: Any, mean: Constant, variance: Constant,
    epsilon: float,
) -> str:  # fmt: skip
    """Batch norm where the windows of each sample stand before the channels."""
    gain = torch.rsqrt(variance.value + epsilon)
    gain = gain if weight is None else gain * weight.value
    shift = -mean.value * gain
    shift = shift if bias is None else shift + bias.value
    shape, layer = [1, x.shape[1], *[1] * (len(x.shape) - 2)], lowering.builder.layer
    factor, offset = Constant(gain, f"{layer}.gain"), Constant(shift, f"{layer}.shift")
    return affine(lowering, x.name, factor, offset, shape)


@aten("instance_norm")
def instance_norm(lowering: Lowering, *, use_input_stats: bool, **arguments: Any) -> str:
    """Instance norm; one that keeps statistics is a batch norm in evaluation."""
    if use_input_stats:
        x: Data = arguments["input"]
        given = (arguments["weight"], arguments["bias"], float(arguments["eps"]))
        return grouped(lowering, x, x.shape[0], *given)
    kept = ("input", "weight", "bias", "running_mean", "running_var", "momentum", "eps")
    return batch_norm(lowering, **{name: arguments[name] for name in kept})
