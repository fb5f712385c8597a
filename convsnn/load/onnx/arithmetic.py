"""Add, Sub, Mul, Div, Neg, Sum, Mean: data with data, and data with constants."""

import numpy as np
from numpy.typing import NDArray

from convsnn.load.onnx.base import ONNX_OPS, Net, hidden
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


def _joined(net: Net, op: str, a: Data, b: Data, *, part: str = "") -> Data:
    rank = max(len(a.shape), len(b.shape)) + 1
    return net.emit(op, net.raised(a, rank), net.raised(b, rank), part=part)


def _times(net: Net, x: Data, factor: float, *, part: str = "") -> Data:
    array = np.full((1,) * (len(x.shape) + 1), factor)
    return net.emit("scale", x, net.made(array, "factor"), part=part)


def _add(net: Net, a: Value, b: Value, *, part: str = "") -> Data:
    if isinstance(a, Data) and isinstance(b, Data):
        return _joined(net, "add", a, b, part=part)
    x, constant = (a, b) if isinstance(a, Data) else (b, a)
    summand = as_constant(constant, "summand")
    shown = Constant(summand.name, hidden(summand.array)) if _hides(summand) else summand
    return net.emit("add_constant", *net.broadcast(as_data(x), shown), part=part)


def _hides(constant: Constant) -> bool:
    return constant.array.dtype.kind == "f" and bool(np.isneginf(constant.array).any())


@ONNX_OPS.register("Add")
def add(net: Net, a: Value, b: Value) -> Data:
    """a + b."""
    return _add(net, a, b)


@ONNX_OPS.register("Sub")
def sub(net: Net, a: Value, b: Value) -> Data:
    """a - b."""
    if isinstance(a, Data) and isinstance(b, Data):
        return _joined(net, "sub", a, b)
    if isinstance(b, Constant):
        return _add(net, a, Constant(b.name, -b.array))
    return _add(net, _times(net, as_data(b), -1.0, part="negated"), a)


@ONNX_OPS.register("Mul")
def mul(net: Net, a: Value, b: Value) -> Data:
    """a * b."""
    if isinstance(a, Data) and isinstance(b, Data):
        made = net.builder.is_op
        if a.name == b.name:
            return net.emit("power", a, exponent=2.0)
        if not any(made(v.name, op) for v in (a, b) for op in ("compare", "sign")):
            return _joined(net, "multiply", a, b)
        return net.piece("product", a, b)
    x, constant = (a, b) if isinstance(a, Data) else (b, a)
    return net.emit("scale", *net.broadcast(as_data(x), as_constant(constant, "factor")))


@ONNX_OPS.register("Div")
def div(net: Net, a: Value, b: Value) -> Data:
    """a / b."""
    if isinstance(b, Data):
        if isinstance(a, Data):
            return _joined(net, "quotient", a, b)
        below = net.emit("power", b, part="inverse", exponent=-1.0)
        return net.emit("scale", *net.broadcast(below, as_constant(a, "dividend")))
    divisor = as_constant(b, "divisor")
    if not divisor.array.all():
        raise net.error("divides by zero")
    inverse = 1.0 / divisor.array.astype(np.float64)
    return net.emit("scale", *net.broadcast(as_data(a), Constant(divisor.name, inverse)))


@ONNX_OPS.register("Neg")
def neg(net: Net, x: Value) -> Data:
    """-x."""
    return _times(net, as_data(x), -1.0)


@ONNX_OPS.register("Where")
def where(net: Net, condition: Value, a: Value, b: Value) -> Data:
    """Elements of a or b as a constant condition says, as a sum of both with zeros in them.

    By a comparison of data it is a ReLU, or it blocks.
    """
    if isinstance(condition, Data):
        return _select(net, condition, a, b)
    mask = as_constant(condition, "condition").array.astype(bool)
    for value, whole in ((a, mask.all()), (b, not mask.any())):
        if whole and isinstance(value, Data):
            return value
    parts = [
        _masked(net, value, kept, part=part)
        for value, kept, part in ((a, mask, "chosen"), (b, ~mask, "other"))
    ]
    return _add(net, *parts)


def _select(net: Net, mask: Data, a: Value, b: Value) -> Data:
    sides: list[Data | Constant] = []
    for value in (a, b):
        if isinstance(value, Data):
            sides.append(value)
        else:
            sides.append(net.broadcast(mask, as_constant(value, "side"))[1])
    return net.piece("select", mask, *sides)


def _masked(net: Net, value: Value, kept: NDArray[np.bool_], *, part: str) -> Data | Constant:
    if isinstance(value, Data):
        factor = net.made(kept.astype(np.float32), part)
        return net.emit("scale", *net.broadcast(value, factor), part=part)
    constant = as_constant(value, part)
    masked = hidden(np.where(kept, constant.array, 0))
    if not np.isfinite(masked).all():
        raise Blocked("it puts numbers that are not finite in place of values")
    return net.made(masked, part)


def _sum(net: Net, inputs: tuple[Value, ...], *, part: str = "") -> Data:
    data = [v for v in inputs if isinstance(v, Data)]
    ordered: list[Value] = [*data, *(v for v in inputs if not isinstance(v, Data))]
    total, *rest = ordered
    for count, value in enumerate(rest, start=1):
        total = _add(net, total, value, part=part if count == len(rest) else "part")
    return as_data(total)


@ONNX_OPS.register("Sum")
def sum_(net: Net, *inputs: Value) -> Data:
    """Sum of any number of values."""
    return _sum(net, inputs)


@ONNX_OPS.register("Mean")
def mean(net: Net, *inputs: Value) -> Data:
    """Mean of any number of values."""
    return _times(net, _sum(net, inputs, part="sum"), 1.0 / len(inputs))


@ONNX_OPS.register("CumSum")
def cumulative_sum(net: Net, x: Value, axis: Ints, *, exclusive: int = 0, reverse: int = 0) -> Data:
    """Sums over all elements up to each: a product with a triangle of ones."""
    data, place = as_data(x), as_ints(axis, "axis") or [0]
    along = net.sample_axis(place[0], data)
    length = data.shape[along - 1]
    if length > 4096:
        raise Blocked(f"it sums up {length} elements one by one")
    ones = np.tri(length, k=-1 if exclusive else 0, dtype=np.float32)
    last = len(data.shape)
    swap = list(range(last + 1))
    swap[along], swap[last] = last, along
    turned = net.permute(data, swap, part="turned")
    made = net.emit("linear", turned, net.made(ones.T if reverse else ones, "ones"), part="sums")
    return net.permute(made, swap)
