"""Conv, ConvTranspose, Gemm, MatMul and BatchNormalization with constant weights."""

from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor

from convsnn.load.builder import product, product_from_left
from convsnn.load.onnx.base import ONNX_OPS, Net
from convsnn.load.onnx.values import (
    Blocked,
    Constant,
    Data,
    Ints,
    Value,
    as_constant,
    as_data,
    as_ints,
)
from convsnn.load.onnx.windows import explicit_pads, halved

_BATCH_STATISTICS = "it normalises by the statistics of the batch"


def _weights(x: Value, w: Value, b: Value) -> tuple[Data, Constant, list[Constant]]:
    data, weight = as_data(x), as_constant(w, "weight")
    spatial = weight.array.ndim - 2
    if spatial not in (1, 2, 3) or len(data.shape) != spatial + 1:
        raise Blocked(f"it works on {len(data.shape) - 1} spatial axes; 1, 2 or 3 are known")
    return data, weight, [] if b is None else [as_constant(b, "bias")]


@ONNX_OPS.register("Conv")
def conv(
    net: Net,
    x: Value,
    w: Value,
    b: Value = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] = (),
    group: int = 1,
    kernel_shape: Sequence[int] = (),
    pads: Sequence[int] = (),
    strides: Sequence[int] = (),
) -> Data:
    """Convolution; automatic padding is written out."""
    del kernel_shape  # the weight has it
    data, weight, bias = _weights(x, w, b)
    kernel = weight.array.shape[2:]
    stride, dilation = list(strides) or [1] * len(kernel), list(dilations) or [1] * len(kernel)
    padding = explicit_pads(auto_pad, pads, data.shape[1:], kernel, stride, dilation)
    return net.emit(
        "conv", data, weight, *bias, stride=stride, padding=padding, dilation=dilation, groups=group
    )


@ONNX_OPS.register("ConvTranspose")
def conv_transpose(
    net: Net,
    x: Value,
    w: Value,
    b: Value = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] = (),
    group: int = 1,
    kernel_shape: Sequence[int] = (),
    output_padding: Sequence[int] = (),
    output_shape: Sequence[int] = (),
    pads: Sequence[int] = (),
    strides: Sequence[int] = (),
) -> Data:
    """Transposed convolution; padding that differs between the sides is cut off afterwards."""
    del kernel_shape
    data, weight, bias = _weights(x, w, b)
    kernel, spatial = weight.array.shape[2:], data.shape[1:]
    ones = [1] * len(kernel)
    stride, dilation = list(strides) or ones, list(dilations) or ones
    extra = list(output_padding) or [0] * len(kernel)
    full = [
        s * (n - 1) + e + (k - 1) * d + 1
        for n, k, s, d, e in zip(spatial, kernel, stride, dilation, extra, strict=True)
    ]
    if output_shape:
        wanted = list(output_shape)[-len(kernel) :]
    elif auto_pad.startswith("SAME"):
        wanted = [min(n * s, f) for n, s, f in zip(spatial, stride, full, strict=True)]
    else:
        wanted = []
    cut = _cut(auto_pad, pads, full, wanted)
    half = len(kernel)
    even = cut[:half] == cut[half:]
    made = net.emit(
        "conv_transpose",
        data,
        weight,
        *bias,
        part="" if even else "full",
        stride=stride,
        padding=cut if even else [0] * len(cut),
        output_padding=extra,
        dilation=dilation,
        groups=group,
    )
    if even:
        return made
    # F.pad's order: last axis first, begin and end of each; a negative number cuts
    return net.emit("pad", made, pads=[-p for i in reversed(range(half)) for p in cut[i::half]])


def _cut(
    auto_pad: str, pads: Sequence[int], full: Sequence[int], wanted: Sequence[int]
) -> list[int]:
    """What is cut off the full result: [begins..., ends...]."""
    if not wanted:
        cut = list(pads) if pads and auto_pad == "NOTSET" else [0] * (2 * len(full))
    else:
        totals = [f - w for f, w in zip(full, wanted, strict=True)]
        cut = halved(totals, more_at_end=auto_pad == "SAME_UPPER")
    if min(cut) < 0:
        raise Blocked("it asks for a larger output than its windows reach")
    return cut


@ONNX_OPS.register("Col2Im")
def col2im(
    net: Net, x: Value, image_shape: Ints, block_shape: Ints, *, dilations: Sequence[int] = (),
    pads: Sequence[int] = (), strides: Sequence[int] = (),
) -> Data:  # fmt: skip
    """Windows added up where they overlap: a transposed convolution with one 1 in each kernel."""
    data = as_data(x)
    image, block = as_ints(image_shape, "shape") or [], as_ints(block_shape, "window") or []
    ones, size = [1] * len(block), prod(block)
    if len(data.shape) != 2 or len(image) != len(block) or data.shape[0] % max(size, 1):
        raise net.error(f"cannot lay {net.named(net.file_shape(data))} out in windows of {block}")
    step, gap = list(strides) or ones, list(dilations) or ones
    border = list(pads) or [0] * (2 * len(block))
    outer = [n + sum(border[i :: len(block)]) for i, n in enumerate(image)]
    over = [n - d * (k - 1) - 1 for n, k, d in zip(outer, block, gap, strict=True)]
    places = [o // s + 1 for o, s in zip(over, step, strict=True)]
    wide = net.reshape(data, (net.batch, data.shape[0], *places), part="places")
    kernels = np.tile(np.eye(size).reshape(size, 1, *block), (data.shape[0] // size, 1, *ones))
    made = conv_transpose(
        net, wide, net.made(kernels, "kernels"), dilations=gap, group=data.shape[0] // size,
        output_padding=[o % s for o, s in zip(over, step, strict=True)], pads=border, strides=step,
    )  # fmt: skip
    assert isinstance(made, Data)  # what a transposed convolution gives
    return made


@ONNX_OPS.register("Gemm")
def gemm(
    net: Net,
    a: Value,
    b: Value,
    c: Value = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Data:
    """alpha * A B + beta * C as a fully connected layer."""
    x, weight = as_data(a), as_constant(b, "second factor")
    if transA:
        raise net.mixed("it transposes its first input")
    array = weight.array if transB else weight.array.T
    if alpha != 1.0:
        array = np.asarray(array, dtype=np.float32) * np.float32(alpha)
    weight = Constant(weight.name, array)
    if c is None or beta == 0.0:
        return net.emit("linear", x, weight)
    if isinstance(c, Data):
        y = net.emit("linear", x, weight, part="product")
        if beta != 1.0:
            c = net.emit("scale", c, net.made(np.full((1, 1), beta), "beta"), part="scaled")
        return net.emit("add", y, net.raised(c, 2))
    bias = as_constant(c, "bias")
    _, bias = net.broadcast(x, bias)
    row = np.broadcast_to(bias.array.reshape(-1), array.shape[:1])
    if beta != 1.0:
        row = np.asarray(row, dtype=np.float32) * np.float32(beta)
    return net.emit("linear", x, weight, Constant(bias.name, row))


@ONNX_OPS.register("MatMul")
def matmul(net: Net, a: Value, b: Value) -> Data:
    """A product with a constant matrix on either side, or of two values."""
    if isinstance(a, Data) and isinstance(b, Data):
        rank = max(len(a.shape), len(b.shape)) + 1
        if min(len(a.shape), len(b.shape)) < 2:
            raise net.mixed("it multiplies along axis 0")
        return net.emit("matmul", net.raised(a, rank), net.raised(b, rank))
    constant, x = (b, as_data(a)) if isinstance(b, Constant) else (a, as_data(b))
    weight = as_constant(constant, "factor")
    array = weight.array
    while array.ndim > 2 and array.shape[0] == 1 and array.ndim <= len(x.shape) + 1:
        array = array[0]
    if 2 < array.ndim <= len(x.shape):
        return _stacked(net, x, torch.from_numpy(array.astype(np.float32)), left=x is not a)
    if array.ndim > 2:
        raise Blocked("it multiplies by a stack of matrices that the batch does not have")
    if isinstance(b, Constant):
        if not x.shape:
            raise net.mixed("it sums over axis 0")
        if array.ndim == 1:
            y = net.emit("linear", x, Constant(weight.name, array[None]), part="product")
            return net.reshape(y, net.file_shape(y)[:-1])
        return net.emit("linear", x, Constant(weight.name, array.T))
    rank = len(x.shape) + 1
    if rank < 3:
        raise net.mixed("it sums over axis 0")
    swap = [*range(rank - 2), rank - 1, rank - 2]
    rows = Constant(weight.name, array if array.ndim == 2 else array[None])
    turned = net.permute(x, swap, part="turned")
    y = net.emit("linear", turned, rows, part="product")
    if array.ndim == 1:
        return net.reshape(y, net.file_shape(y)[:-1])
    return net.permute(y, swap)


def _stacked(net: Net, x: Data, factor: Tensor, *, left: bool) -> Data:
    """`x` times a stack of matrices, on its left or its right."""
    net.builder.layer = net.label
    if left:
        name = product_from_left(net.builder, factor, x.name, x.shape)
        return Data(name, (*x.shape[:-2], factor.shape[-2], x.shape[-1]))
    name = product(net.builder, x.name, x.shape, factor)
    return Data(name, (*x.shape[:-1], factor.shape[-1]))


@ONNX_OPS.register("BatchNormalization")
def batch_normalization(
    net: Net,
    x: Value,
    scale: Value,
    b: Value,
    mean: Value,
    var: Value,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    spatial: int = 1,
    training_mode: int = 0,
) -> Data:
    """Batch norm with the statistics kept in the file."""
    del momentum  # for training
    if training_mode:
        raise Blocked(_BATCH_STATISTICS, "export the network in evaluation mode")
    if not spatial:
        raise Blocked("it normalises every position by itself (spatial=0)")
    names = ("scale", "bias", "mean", "variance")
    values = zip((scale, b, mean, var), names, strict=True)
    return net.emit(
        "batch_norm", as_data(x), *[as_constant(v, what) for v, what in values], epsilon=epsilon
    )
