"""Norms whose spread depends on the data: layer, RMS, group and instance norm."""

from collections.abc import Sequence
from math import prod

import numpy as np

from convsnn.load.onnx.base import ONNX_OPS, Net
from convsnn.load.onnx.values import Blocked, Constant, Data, Value, as_constant, as_data


def _affine(net: Net, x: Data, scale: Value, bias: Value, shape: Sequence[int]) -> Data:
    """x * scale + bias, constants that stand in `shape` of a sample."""
    for value, op, what in ((scale, "scale", "scale"), (bias, "add_constant", "bias")):
        if value is None:
            continue
        given = as_constant(value, what)
        wide = Constant(f"{given.name}.wide", given.array.reshape(1, *shape))
        x = net.emit(op, x, wide, part=what)
    return x


def _trailing(net: Net, x: Data, axis: int) -> tuple[list[int], list[int]]:
    """The axes from `axis` on, and the shape of a sample with ones before them."""
    rank = len(x.shape) + 1
    first = net.sample_axis(axis, x)
    dims = list(range(first, rank))
    return dims, [1] * (first - 1) + list(x.shape[first - 1 :])


def _own_shape(shape: Sequence[int], scale: Value) -> list[int]:
    """`shape`, or ones where the scale is a single number."""
    size = as_constant(scale, "scale").array.size
    return [1] * len(shape) if size == 1 else list(shape)


@ONNX_OPS.register("LayerNormalization")
def layer_normalization(
    net: Net, x: Value, scale: Value, b: Value = None, *, axis: int = -1, epsilon: float = 1e-5,
    stash_type: int = 1,
) -> Data:  # fmt: skip
    """Layer norm from `axis` on."""
    del stash_type  # what it is computed in
    data = as_data(x)
    dims, shape = _trailing(net, data, axis)
    made = net.emit("layer_norm", data, part="norm", dims=dims, epsilon=epsilon)
    return _affine(net, made, scale, b, _own_shape(shape, scale))


@ONNX_OPS.register("RMSNormalization")
def rms_normalization(
    net: Net, x: Value, scale: Value, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Data:
    """RMS norm from `axis` on."""
    del stash_type
    data = as_data(x)
    dims, shape = _trailing(net, data, axis)
    made = net.emit("rms_norm", data, part="norm", dims=dims, epsilon=epsilon)
    return _affine(net, made, scale, None, _own_shape(shape, scale))


def _grouped(net: Net, x: Data, groups: int, epsilon: float) -> Data:
    channels = x.shape[0] if x.shape else 0
    if groups < 1 or channels % groups:
        raise net.error(f"cannot divide {channels} channels into {groups} groups")
    flat = net.reshape(x, (net.batch, groups, prod(x.shape) // groups), part="flat")
    made = net.emit("layer_norm", flat, part="norm", dims=[2], epsilon=epsilon)
    return net.reshape(made, net.file_shape(x), part="opened")


def _channels(x: Data) -> list[int]:
    return [x.shape[0], *[1] * (len(x.shape) - 1)]


@ONNX_OPS.register("GroupNormalization")
def group_normalization(
    net: Net, x: Value, scale: Value, bias: Value, *, num_groups: int, epsilon: float = 1e-5,
    stash_type: int = 1,
) -> Data:  # fmt: skip
    """Group norm; its form before opset 21 is withdrawn from the standard."""
    del stash_type
    data = as_data(x)
    made = _grouped(net, data, num_groups, epsilon)
    return _affine(net, made, scale, bias, _channels(data))


@ONNX_OPS.register("InstanceNormalization")
def instance_normalization(
    net: Net, x: Value, scale: Value, b: Value, *, epsilon: float = 1e-5
) -> Data:
    """Every channel of every sample normalised by itself."""
    data = as_data(x)
    made = _grouped(net, data, data.shape[0], epsilon)
    return _affine(net, made, scale, b, _channels(data))


@ONNX_OPS.register("MeanVarianceNormalization")
def mean_variance(net: Net, x: Value, *, axes: Sequence[int] = (0, 2, 3)) -> Data:
    """(x - mean) / deviation over `axes`."""
    data = as_data(x)
    dims = sorted(net.axis(a, len(data.shape) + 1) for a in axes)
    if 0 in dims:
        raise Blocked("it normalises by the statistics of the batch")
    return net.emit("layer_norm", data, dims=dims, epsilon=1e-9)


@ONNX_OPS.register("LRN")
def local_response(
    net: Net, x: Value, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
) -> Data:
    """x over a power of the squares of `size` channels around it."""
    data = as_data(x)
    if len(data.shape) < 2 or size < 1:
        raise net.error("needs channels and places, and a size of at least 1")
    square = net.emit("power", data, part="square", exponent=2.0)
    flat = net.reshape(square, (net.batch, 1, data.shape[0], prod(data.shape[1:])), part="flat")
    before, after = (size - 1) // 2, size // 2
    means = net.emit(
        "avg_pool", flat, part="means", kernel=[size, 1], stride=[1, 1],
        padding=[before, 0, after, 0],
    )  # fmt: skip
    means = net.reshape(means, net.file_shape(data), part="opened")
    rank = (1,) * (len(data.shape) + 1)
    wide = net.emit("scale", means, net.made(np.full(rank, alpha), "alpha"), part="scaled")
    whole = net.emit("add_constant", wide, net.made(np.full(rank, bias), "bias"), part="raised")
    share = net.emit("power", whole, part="share", exponent=-beta)
    return net.emit("multiply", data, share)
