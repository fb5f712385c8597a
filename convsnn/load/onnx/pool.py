"""MaxPool, AveragePool, global pooling, and the reductions that are means or maxima."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from convsnn.load.onnx.base import ONNX_OPS, Net
from convsnn.load.onnx.values import Blocked, Data, Ints, Value, as_data, as_ints
from convsnn.load.onnx.windows import explicit_pads


def _pooled(x: Value) -> Data:
    data = as_data(x)
    if len(data.shape) not in (2, 3, 4):
        raise Blocked(f"it works on {len(data.shape) - 1} spatial axes; 1, 2 or 3 are known")
    return data


def _starts_in_end_padding(
    spatial: Sequence[int], pads: Sequence[int], span: Sequence[int], stride: Sequence[int]
) -> bool:
    """Whether rounding up would add a window that lies in the padding only."""
    half = len(spatial)
    for n, begin, end, k, s in zip(spatial, pads[:half], pads[half:], span, stride, strict=True):
        windows = -(-(n + begin + end - k) // s) + 1
        if (windows - 1) * s >= n + begin:
            return True
    return False


@ONNX_OPS.register("MaxPool")
def max_pool(
    net: Net,
    x: Value,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Sequence[int] = (),
    kernel_shape: Sequence[int] = (),
    pads: Sequence[int] = (),
    storage_order: int = 0,
    strides: Sequence[int] = (),
) -> Data:
    """Maximum over windows."""
    del storage_order  # concerns the indices only
    data = _pooled(x)
    ones = [1] * len(kernel_shape)
    stride, dilation = list(strides) or ones, list(dilations) or ones
    spatial, half = data.shape[1:], len(kernel_shape)
    padding = explicit_pads(auto_pad, pads, spatial, kernel_shape, stride, dilation)
    if data.low:
        data, padding = _unpadded(data, padding, bool(ceil_mode))
        spatial = data.shape[1:]
    span = [(k - 1) * d + 1 for k, d in zip(kernel_shape, dilation, strict=True)]
    even = padding[:half] == padding[half:]
    if even and any(2 * p > k for p, k in zip(padding, kernel_shape, strict=False)):
        raise Blocked("its padding is wider than half of its window")
    rounded_up = bool(ceil_mode) and not auto_pad.startswith("SAME")
    if rounded_up and not even and _starts_in_end_padding(spatial, padding, span, stride):
        raise Blocked("rounding up adds a window that lies in its padding")
    return net.emit(
        "max_pool",
        data,
        kernel=list(kernel_shape),
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=rounded_up,
    )


def _unpadded(x: Data, own: Sequence[int], ceil_mode: bool) -> tuple[Data, list[int]]:
    """The value before it was padded with minus infinity, and the pool's padding with that."""
    half = len(x.shape)
    begin, end = x.low[:half], x.low[half:]
    if begin[0] or end[0] or ceil_mode:
        raise Blocked("its input is padded with minus infinity in a way that is not read")
    inside = [n - b - e for n, b, e in zip(x.shape, begin, end, strict=True)]
    both = [a + b for a, b in zip(own, (*begin[1:], *end[1:]), strict=True)]
    return replace(x, shape=tuple(inside), low=()), both


@ONNX_OPS.register("AveragePool")
def average_pool(
    net: Net,
    x: Value,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Sequence[int] = (),
    kernel_shape: Sequence[int] = (),
    pads: Sequence[int] = (),
    strides: Sequence[int] = (),
) -> Data:
    """Mean over windows."""
    data = _pooled(x)
    if any(d != 1 for d in dilations):
        raise Blocked("its windows have gaps (dilations)")
    ones = [1] * len(kernel_shape)
    stride, spatial, half = list(strides) or ones, data.shape[1:], len(kernel_shape)
    if auto_pad.startswith("SAME") and any(
        s > k for s, k in zip(stride, kernel_shape, strict=True)
    ):
        raise Blocked("its automatic padding leaves gaps, which runtimes place differently")
    padding = explicit_pads(auto_pad, pads, spatial, kernel_shape, stride, ones)
    even = padding[:half] == padding[half:]
    if even and any(2 * p > k for p, k in zip(padding, kernel_shape, strict=False)):
        raise Blocked("its padding is wider than half of its window")
    rounded_up = bool(ceil_mode) and not auto_pad.startswith("SAME")
    if rounded_up and not even and _starts_in_end_padding(spatial, padding, kernel_shape, stride):
        raise Blocked("rounding up adds a window that lies in its padding")
    return net.emit(
        "avg_pool",
        data,
        kernel=list(kernel_shape),
        stride=stride,
        padding=padding,
        ceil_mode=rounded_up,
        count_include_pad=bool(count_include_pad),
    )


@ONNX_OPS.register("GlobalAveragePool")
def global_average_pool(net: Net, x: Value) -> Data:
    """Mean over all spatial axes, which stay with size 1."""
    data = as_data(x)
    axes = list(range(2, len(data.shape) + 1))
    return net.emit("mean", data, dims=axes, keepdim=True) if axes else data


@ONNX_OPS.register("GlobalMaxPool")
def global_max_pool(net: Net, x: Value) -> Data:
    """Maximum over all spatial axes, which stay with size 1."""
    return _maximum(net, _pooled(x))


def _maximum(net: Net, x: Data, *, part: str = "") -> Data:
    kernel = list(x.shape[1:])
    zeros, ones = [0] * (2 * len(kernel)), [1] * len(kernel)
    return net.emit(
        "max_pool", x, part=part, kernel=kernel, stride=ones, padding=zeros, dilation=ones
    )


def _reduced(net: Net, x: Data, axes: Ints, keepdims: int, noop: int) -> tuple[list[int], bool]:
    """The axes of a reduction, the batch left out where the file's batch of one is kept."""
    rank = len(x.shape) + 1
    given = as_ints(axes, "list of axes") or ([] if noop else list(range(rank)))
    chosen = sorted({net.axis(a, rank) for a in given})
    if 0 in chosen:
        if net.batch != 1 or not keepdims:
            raise net.mixed("it reduces axis 0")
        chosen.remove(0)
    return chosen, bool(keepdims)


def _upright(net: Net, x: Data, axes: Ints, noop: int) -> tuple[Data, Ints, tuple[int, ...]]:
    """`x` with its batch first, the axes to reduce counted there, and the order of the file."""
    if x.order is None:
        return x, axes, ()
    rank, given = len(x.order), as_ints(axes, "list of axes")
    given = ([] if noop else list(range(rank))) if given is None else given
    turned = [x.order[net.axis(a, rank)] for a in given]
    return replace(x, dims=None, mixed=None, order=None), turned, x.order


def _turned_back(net: Net, x: Data, order: Sequence[int], gone: Sequence[int]) -> Data:
    """`x` in the file's order of axes, without those that were reduced away."""
    left = [axis for axis in order if axis not in gone]
    return net.moved(x, [sorted(left).index(axis) for axis in left]) if order else x


@ONNX_OPS.register("ReduceMean")
def reduce_mean(
    net: Net, x: Value, axes: Ints = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Data:
    """Mean over axes."""
    return _mean(net, as_data(x), axes, keepdims, noop_with_empty_axes, count=False)


@ONNX_OPS.register("ReduceSum")
def reduce_sum(
    net: Net, x: Value, axes: Ints = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Data:
    """Sum over axes, as the mean times their size."""
    return _mean(net, as_data(x), axes, keepdims, noop_with_empty_axes, count=True)


def _mean(net: Net, x: Data, axes: Ints, keepdims: int, noop: int, *, count: bool) -> Data:
    data, axes, order = _upright(net, x, axes, noop)
    dims, keep = _reduced(net, data, axes, keepdims, noop)
    if not dims:
        return x
    made = net.emit("mean", data, part="mean" if count else "", dims=dims, keepdim=keep)
    if count:
        number = np.full((1,) * (len(made.shape) + 1), prod(data.shape[d - 1] for d in dims))
        made = net.emit("scale", made, net.made(number, "count"))
    return _turned_back(net, made, order, [] if keep else dims)


@ONNX_OPS.register("ReduceMax")
def reduce_max(
    net: Net, x: Value, axes: Ints = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Data:
    """Maximum over all spatial axes, as max pooling; over others a function."""
    data = as_data(x)
    dims, keep = _reduced(net, data, axes, keepdims, noop_with_empty_axes)
    if not dims:
        return data
    if dims != list(range(2, len(data.shape) + 1)) or len(data.shape) > 4:
        return _largest(net, data, dims, keep)
    if keep:
        return _maximum(net, data)
    largest = _maximum(net, data, part="max")
    return net.reshape(largest, net.file_shape(largest)[:2])


@ONNX_OPS.register("ReduceMin")
def reduce_min(
    net: Net, x: Value, axes: Ints = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Data:
    """Minimum over axes: what is largest of -x."""
    data = as_data(x)
    dims, keep = _reduced(net, data, axes, keepdims, noop_with_empty_axes)
    if not dims:
        return data
    minus = net.made(np.full((1,) * (len(data.shape) + 1), -1.0), "minus")
    turned = net.emit("scale", data, minus, part="turned")
    made = net.emit("largest", turned, part="largest", dims=dims)
    return _without(net, net.emit("scale", made, minus), [] if keep else dims)


def _largest(net: Net, x: Data, dims: Sequence[int], keep: bool) -> Data:
    made = net.emit("largest", x, part="" if keep else "largest", dims=list(dims))
    return _without(net, made, [] if keep else dims)


def _without(net: Net, x: Data, dims: Sequence[int]) -> Data:
    """`x` without axes of size 1."""
    if not dims:
        return x
    return net.reshape(x, [n for i, n in enumerate(net.file_shape(x)) if i not in dims])
