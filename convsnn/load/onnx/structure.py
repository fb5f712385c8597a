"""Ops that ask for shapes, or change nothing at inference: Shape, Size, Identity, Dropout, Cast."""

from dataclasses import replace
from math import prod

import numpy as np

from convsnn.load.onnx.base import ONNX_OPS, Net
from convsnn.load.onnx.file import FLOATS
from convsnn.load.onnx.values import Blocked, Constant, Data, Value, as_data


@ONNX_OPS.register("Shape")
def shape(net: Net, x: Value, *, start: int = 0, end: int | None = None) -> Constant:
    """Shape of a value, which is known without running it."""
    dims = net.file_shape(as_data(x))
    return Constant(net.label, np.array(dims[start:end], dtype=np.int64))


@ONNX_OPS.register("Size")
def size(net: Net, x: Value) -> Constant:
    """Number of elements of a value."""
    return Constant(net.label, np.array(prod(net.file_shape(as_data(x))), dtype=np.int64))


@ONNX_OPS.register("Identity")
def identity(_net: Net, x: Value) -> Data:
    """The value itself; no node is made for it."""
    return as_data(x)


@ONNX_OPS.register("Dropout")
def dropout(
    _net: Net,
    x: Value,
    ratio: Value | float = 0.5,
    training_mode: Value = None,
    *,
    seed: int | None = None,
) -> Data:
    """The value itself, as dropout does nothing at inference."""
    del ratio, seed
    if isinstance(training_mode, Data) or (
        isinstance(training_mode, Constant) and training_mode.array.any()
    ):
        raise Blocked("it drops values at random", "export the network in evaluation mode")
    return as_data(x)


@ONNX_OPS.register("Cast")
def cast(_net: Net, x: Value, *, to: int, saturate: int = 1, round_mode: str = "up") -> Data:
    """Between float types the value itself: everything runs in float32."""
    del saturate, round_mode  # concern float8 only
    data = as_data(x)
    if to in FLOATS:
        return replace(data, integer=False)
    if data.integer:
        return data
    raise Blocked("it rounds values that depend on the input")


@ONNX_OPS.register("CastLike")
def cast_like(
    net: Net, x: Value, like: Value, *, saturate: int = 1, round_mode: str = "up"
) -> Data | Constant:
    """As Cast, to the type of another value."""
    del saturate, round_mode
    if isinstance(like, Constant):
        whole = like.array.dtype.kind in "iub"
    else:
        whole = isinstance(like, Data) and like.integer
    if isinstance(x, Constant):
        return Constant(net.label, x.array.astype(np.int64 if whole else np.float32))
    data = as_data(x)
    if not whole:
        return replace(data, integer=False)
    if data.integer:
        return data
    raise Blocked("it rounds values that depend on the input")
