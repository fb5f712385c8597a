"""Relu and its bounded kin, readouts, and the activations that are refused by name."""

import numpy as np

from convsnn.load.onnx.base import (
    ONNX_OPS,
    RETRAIN,
    Blocked,
    Constant,
    Data,
    Net,
    Value,
    as_constant,
    as_data,
    refuse,
)

_UNBOUNDED = 3e38  # older exporters write the largest float32 for "no bound"


@ONNX_OPS.register("Relu")
def relu(net: Net, x: Value) -> Data:
    """max(x, 0)."""
    return net.emit("relu", as_data(x))


@ONNX_OPS.register("Clip")
def clip(net: Net, x: Value, min: Value | float = None, max: Value | float = None) -> Data:
    """Clamp to [0, max]; ReLU6 arrives as this."""
    low, high = _bound(min, "lower bound"), _bound(max, "upper bound")
    if low is None and high is None:
        return as_data(x)
    if low == 0 and high is None:
        return net.emit("relu", as_data(x))
    if low == 0 and high is not None and high > 0:
        return net.emit("clip", as_data(x), ceiling=high)
    raise Blocked(f"clamp to [{low}, {high}]: only a lower bound of 0 is a spiking neuron", RETRAIN)


def _bound(value: Value | float, what: str) -> float | None:
    if value is None:
        return None
    number = value if isinstance(value, float) else float(as_constant(value, what).array.item())
    return None if abs(number) > _UNBOUNDED else number


@ONNX_OPS.register("Max")
def maximum(net: Net, *inputs: Value) -> Data:
    """Maximum of data and zero, which is a ReLU; anything else is refused."""
    data = [v for v in inputs if isinstance(v, Data)]
    constants = [v for v in inputs if isinstance(v, Constant)]
    if len(data) == 1 and not constants:
        return data[0]
    if len(data) != 1 or np.max([c.array.max() for c in constants]) != 0:
        raise Blocked("only the maximum with zero is a spiking neuron", RETRAIN)
    if any(c.array.size > 1 for c in constants):
        raise Blocked("its constant is more than one number")
    return net.emit("relu", data[0])


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
    """Softmax; allowed at the very end."""
    return _softmax(net, "softmax", x, axis)


@ONNX_OPS.register("LogSoftmax")
def log_softmax(net: Net, x: Value, *, axis: int | None = None) -> Data:
    """Logarithm of softmax; allowed at the very end."""
    return _softmax(net, "log_softmax", x, axis)


@ONNX_OPS.register("Sigmoid")
def sigmoid(net: Net, x: Value) -> Data:
    """Logistic function; allowed at the very end."""
    return net.emit("sigmoid", as_data(x))


for _name in ("Celu", "Elu", "Erf", "Gelu", "HardSwish", "Mish", "Selu", "Softplus", "Softsign"):
    refuse(_name, reason=f"{_name} is no ReLU; left as it is, it would stay analog")
for _name in ("Swish", "Tanh", "ThresholdedRelu"):
    refuse(_name, reason=f"{_name} is no ReLU; left as it is, it would stay analog")
refuse("LeakyRelu", "PRelu", reason="its negative side needs neurons with signed spikes")
refuse("HardSigmoid", reason="a sigmoid gate would stay analog")
refuse(
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "LpNormalization",
    "MeanVarianceNormalization",
    "RMSNormalization",
    reason="it divides by a spread that depends on the data",
    remedy="retrain with batch norm",
)
refuse(
    "LRN",
    reason="it divides by a size that depends on the data",
    remedy="retrain with batch norm, or leave local response normalization out",
)
refuse(
    "Attention",
    "Einsum",
    reason="it multiplies values that all depend on the data",
    remedy="",
)
refuse(
    "ArgMax",
    "TopK",
    reason="it turns the answer into an index",
    remedy="cut it off: the largest output is looked for at every step anyway",
)
