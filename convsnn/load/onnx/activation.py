"""Relu and its bounded kin, readouts, and the activations that are refused by name."""

from collections.abc import Sequence

import numpy as np

from convsnn.load.builder import GUARD, RETRAIN
from convsnn.load.onnx.base import ONNX_OPS, Net, refuse
from convsnn.load.onnx.values import Blocked, Constant, Data, Value, as_constant, as_data

_UNBOUNDED = 3e38  # older exporters write the largest float32 for "no bound"


@ONNX_OPS.register("Relu")
def relu(net: Net, x: Value) -> Data:
    """max(x, 0)."""
    return net.emit("relu", as_data(x))


@ONNX_OPS.register("Clip")
def clip(net: Net, x: Value, min: Value | float = None, max: Value | float = None) -> Data:
    """Clamp to [0, max]; ReLU6 arrives as this."""
    return _clamped(net, as_data(x), _bound(min, "lower bound"), _bound(max, "upper bound"))


def _clamped(net: Net, x: Data, low: float | None, high: float | None) -> Data:
    if low is None and high is None:
        return x
    if low == 0 and high is None:
        return net.emit("relu", x)
    if low == 0 and high is not None and high > 0:
        return net.emit("clip", x, ceiling=high)
    if low is not None and 0 < low < GUARD and high is None:
        return net.emit("bound", x, low=low, high=None)
    if low == np.inf or high == -np.inf:
        raise Blocked(f"clamp to [{low}, {high}] leaves nothing")
    return net.piece("clamp", x, detail=f"clamp to [{low}, {high}]", low=low, high=high)


def _bound(value: Value | float, what: str) -> float | None:
    """One number, or None where it is so large that it bounds nothing."""
    if value is None:
        return None
    number = value if isinstance(value, float) else as_constant(value, what).number(what)
    unbounded = number >= _UNBOUNDED if what == "upper bound" else number <= -_UNBOUNDED
    return None if unbounded else number


@ONNX_OPS.register("Max")
def maximum(net: Net, *inputs: Value) -> Data:
    """Maximum of data and zero, which is a ReLU; of data and a multiple of it, a leaky ReLU."""
    data = [v for v in inputs if isinstance(v, Data)]
    constants = [v for v in inputs if isinstance(v, Constant)]
    if len(data) == 2 and not constants:
        return net.piece("maximum", *data)
    if len(data) != 1:
        raise Blocked("only the maximum with zero is a spiking neuron", RETRAIN)
    if not constants:
        return data[0]
    bound = float(np.max([c.number("constant") for c in constants]))
    return _clamped(net, _whole(net, data[0], constants), _bound(bound, "lower bound"), None)


@ONNX_OPS.register("Min")
def minimum(net: Net, *inputs: Value) -> Data:
    """Minimum of data and a number: the upper bound of a clipped ReLU."""
    data = [v for v in inputs if isinstance(v, Data)]
    constants = [v for v in inputs if isinstance(v, Constant)]
    if len(data) == 2 and not constants:
        return net.emit("smaller", *data)
    if len(data) != 1:
        raise Blocked("a minimum of several values and numbers is not read")
    if not constants:
        return data[0]
    bound = float(np.min([c.number("constant") for c in constants]))
    return _clamped(net, _whole(net, data[0], constants), None, _bound(bound, "upper bound"))


def _whole(net: Net, x: Data, constants: Sequence[Constant]) -> Data:
    """`x`, refused where a constant would repeat it along an axis."""
    shape = net.file_shape(x)
    for constant in constants:
        if np.broadcast_shapes(shape, constant.array.shape) != shape:
            raise Blocked("its constant repeats the data along an axis")
    return x


@ONNX_OPS.register("ThresholdedRelu")
def thresholded_relu(net: Net, x: Value, *, alpha: float = 1.0) -> Data:
    """x where x > alpha, else 0: a ReLU at alpha 0."""
    if alpha != 0:
        raise Blocked(f"it is a ReLU only where its alpha is 0, not {alpha:g}", RETRAIN)
    return net.emit("relu", as_data(x))


@ONNX_OPS.register("LeakyRelu")
def leaky_relu(net: Net, x: Value, *, alpha: float = 0.01) -> Data:
    """x where x > 0, else alpha * x."""
    return _leaky(net, as_data(x), net.made(np.array(alpha, np.float32), "slope"))


@ONNX_OPS.register("PRelu")
def p_relu(net: Net, x: Value, slope: Value) -> Data:
    """x where x > 0, else slope * x."""
    return _leaky(net, as_data(x), as_constant(slope, "slope"))


def _leaky(net: Net, x: Data, slope: Constant) -> Data:
    data, factor = net.broadcast(x, slope)
    if not factor.array.any():
        return net.emit("relu", data)
    return net.emit("leaky_relu", data, factor)


@ONNX_OPS.register("Floor")
def floor(net: Net, x: Value) -> Data:
    """Part of a clip-floor activation, or it blocks."""
    return net.piece("rounding", as_data(x), remedy="", how="floor")


@ONNX_OPS.register("Round")
def round_(net: Net, x: Value) -> Data:
    """To the nearest, ties to even: part of a clip-floor activation, or it blocks."""
    return net.piece("rounding", as_data(x), remedy="", how="round")


@ONNX_OPS.register("Abs")
def absolute(net: Net, x: Value) -> Data:
    """|x|: a pass writes it as two rectifiers, or as one where it can."""
    return net.piece("abs", as_data(x))


@ONNX_OPS.register("Sign")
def sign(net: Net, x: Value) -> Data:
    """1, 0 or -1: part of a known whole, or it blocks."""
    return net.piece("sign", as_data(x))


_TURNED = {"gt": "lt", "ge": "le", "lt": "gt", "le": "ge"}


def _compared(net: Net, a: Value, b: Value, relation: str) -> Data:
    if isinstance(a, Data) and isinstance(b, Data):
        raise Blocked("it compares two values that depend on the input", RETRAIN)
    x, constant = (a, b) if isinstance(a, Data) else (b, a)
    bound = as_constant(constant, "bound")
    relation = relation if isinstance(a, Data) else _TURNED[relation]
    data = _whole(net, as_data(x), [bound])
    return net.piece("compare", data, relation=relation, bound=bound.number("bound"))


@ONNX_OPS.register("Greater")
def greater(net: Net, a: Value, b: Value) -> Data:
    """a > b: part of a ReLU, or it blocks; truth values are kept as 0 and 1."""
    return _compared(net, a, b, "gt")


@ONNX_OPS.register("GreaterOrEqual")
def greater_or_equal(net: Net, a: Value, b: Value) -> Data:
    """a >= b, as Greater."""
    return _compared(net, a, b, "ge")


@ONNX_OPS.register("Less")
def less(net: Net, a: Value, b: Value) -> Data:
    """a < b, as Greater."""
    return _compared(net, a, b, "lt")


@ONNX_OPS.register("LessOrEqual")
def less_or_equal(net: Net, a: Value, b: Value) -> Data:
    """a <= b, as Greater."""
    return _compared(net, a, b, "le")


def _softmax(net: Net, op: str, x: Value, axis: int | None) -> Data:
    data = as_data(x)
    rank = len(data.shape) + 1
    if net.opset >= 13:
        return net.emit(op, data, dim=net.sample_axis(-1 if axis is None else axis, data))
    # before opset 13: over all axes from `axis` on, taken as one
    first = net.axis(1 if axis is None else axis, rank)
    if first == 0 and net.batch != 1:
        raise net.mixed("it works along axis 0")
    first = first or 1
    if all(n == 1 for n in data.shape[first:]) and first < rank:
        return net.emit(op, data, dim=first)
    flat = net.reshape(data, (*net.file_shape(data)[:first], _rest(data, first)), part="flat")
    made = net.emit(op, flat, part="flat", dim=first)
    return net.reshape(made, net.file_shape(data))


def _rest(x: Data, first: int) -> int:
    return int(np.prod(x.shape[first - 1 :], dtype=np.int64))


@ONNX_OPS.register("Softmax")
def softmax(net: Net, x: Value, *, axis: int | None = None) -> Data:
    """Softmax: a readout at the very end, a function elsewhere."""
    return _softmax(net, "softmax", x, axis)


@ONNX_OPS.register("LogSoftmax")
def log_softmax(net: Net, x: Value, *, axis: int | None = None) -> Data:
    """Logarithm of softmax, the same."""
    return _softmax(net, "log_softmax", x, axis)


@ONNX_OPS.register("Sigmoid")
def sigmoid(net: Net, x: Value) -> Data:
    """Logistic function: a readout at the very end, a function elsewhere."""
    return net.emit("sigmoid", as_data(x))


refuse(
    "ArgMax",
    "TopK",
    reason="it turns the answer into an index",
    remedy="cut it off: the largest output is looked for at every step anyway",
)
