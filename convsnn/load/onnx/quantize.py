"""QuantizeLinear and DequantizeLinear of data, and the ops of quantised files refused by name.

    q = clip(round(x / scale) + zero point, lowest, highest)        y = (q - zero point) * scale

A pair of them is a staircase, which a pass makes into neurons where its lowest step is zero
(`convsnn.passes.clip_floor`): behind a ReLU always, elsewhere where the zero point is the
lowest number of the type.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from convsnn.load.onnx.base import ONNX_OPS, Net, refuse
from convsnn.load.onnx.file import INTEGERS
from convsnn.load.onnx.values import Blocked, Constant, Data, Value, as_constant, as_data

_QDQ = "quantise the original in the QDQ format (quant_format=QuantFormat.QDQ), statically"
_STEPS = (
    "quantise with a zero point at the type's lowest number (unsigned activations) and leave the "
    "input and the outputs out of it"
)


@ONNX_OPS.register("QuantizeLinear")
def quantize_linear(
    net: Net, x: Value, scale: Value, zero_point: Value = None, *, axis: int = 1,
    block_size: int = 0, output_dtype: int = 0, precision: int = 0, saturate: int = 1,
) -> Data:  # fmt: skip
    """Whole numbers, kept as floats: what reads them multiplies by the scale again."""
    del precision, saturate
    kind = np.dtype(np.uint8)
    if isinstance(zero_point, Constant):
        kind = zero_point.array.dtype
    elif output_dtype:
        kind = onnx.helper.tensor_dtype_to_np_dtype(output_dtype)
    if onnx.helper.np_dtype_to_tensor_dtype(kind) not in INTEGERS and "int" not in kind.name:
        raise Blocked(f"it rounds to {kind.name}, whose steps differ in size", _QDQ)
    data, steps, zero = _parameters(net, x, scale, zero_point, axis, block_size)
    low, high = _range(kind)
    place = _scaled(net, data, 1 / steps, part="steps")
    rounded = net.piece("rounding", place, part="rounding", how="round", remedy=_STEPS)
    moved = _moved(net, rounded, zero, part="moved")
    return net.piece("clamp", moved, detail=f"clamp to [{low}, {high}]", low=low, high=high)


@ONNX_OPS.register("DequantizeLinear")
def dequantize_linear(
    net: Net, x: Value, scale: Value, zero_point: Value = None, *, axis: int = 1,
    block_size: int = 0, output_dtype: int = 0,
) -> Data:  # fmt: skip
    """The numbers that whole ones stand for."""
    del output_dtype
    data, steps, zero = _parameters(net, x, scale, zero_point, axis, block_size)
    return _scaled(net, _moved(net, data, -zero, part="moved"), steps)


def _parameters(
    net: Net, x: Value, scale: Value, zero_point: Value, axis: int, block: int
) -> tuple[Data, NDArray[Any], NDArray[Any]]:
    """`x`, and scale and zero point in a shape that meets it; a single number where that is
    enough."""
    data = as_data(x)
    steps = as_constant(scale, "scale").array.astype(np.float32)
    zero = np.zeros_like(steps)
    if zero_point is not None:
        zero = as_constant(zero_point, "zero point").array.astype(np.float32)
    if not (np.isfinite(steps).all() and (steps > 0).all()):
        raise net.error("has a scale that is not above zero")
    if zero.size not in (1, steps.size):
        raise net.error("has scales and zero points of different numbers")
    if steps.size == 1:
        return data, steps.reshape(()), zero.reshape(())
    if block:
        raise Blocked("its scale differs between blocks of values", _STEPS)
    place = net.sample_axis(axis, data)
    if steps.shape != (data.shape[place - 1],):
        raise net.error(
            f"has {steps.size} scales for {data.shape[place - 1]} values of axis {place}"
        )
    shape = [1] * (len(data.shape) + 1)
    shape[place] = -1
    return data, steps.reshape(shape), zero.reshape(shape if zero.size > 1 else ())


def _range(kind: "np.dtype[Any]") -> tuple[float, float]:
    if kind.kind in "iu":
        return float(np.iinfo(kind).min), float(np.iinfo(kind).max)
    bits = int("".join(c for c in kind.name if c.isdigit()))  # int4 and narrower
    signed = not kind.name.startswith("u")
    return (-float(1 << bits - 1) if signed else 0.0), float((1 << bits - signed) - 1)


def _scaled(net: Net, x: Data, factor: NDArray[Any], *, part: str = "") -> Data:
    return net.emit("scale", *net.broadcast(x, net.made(factor, part or "scale")), part=part)


def _moved(net: Net, x: Data, zero: NDArray[Any], *, part: str) -> Data:
    if not zero.any():
        return x
    return net.emit("add_constant", *net.broadcast(x, net.made(zero, part)), part=part)


refuse(
    "ConvInteger",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
    reason="it computes with whole numbers, as a quantised runtime does",
    remedy=_QDQ,
)
refuse(
    "DynamicQuantizeLinear",
    reason="it takes its steps from the data of each call",
    remedy=_QDQ,
)
