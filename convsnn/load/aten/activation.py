"""Activations, readouts, and the activations that are refused by name."""

import math
from typing import Any

from convsnn.load.aten.base import RETRAIN, Blocked, Constant, Data, Lowering, aten, refuse


def _clamped(lowering: Lowering, x: Data, low: Any, high: Any) -> str:
    low, high = (float(v.value) if isinstance(v, Constant) else v for v in (low, high))
    unbounded = high is None or high == math.inf
    if low == 0 and unbounded:
        return lowering.builder.emit("relu", x.name)
    if low == 0 and high > 0:
        return lowering.builder.emit("clip", x.name, ceiling=float(high))
    raise Blocked(f"clamp to [{low}, {high}]: only a lower bound of 0 is a spiking neuron", RETRAIN)


@aten("relu")
def relu(lowering: Lowering, **arguments: Any) -> str:
    """ReLU in every spelling: functional, module, in place."""
    return lowering.builder.emit("relu", arguments["self"].name)


@aten("relu6")
def relu6(lowering: Lowering, **arguments: Any) -> str:
    """min(max(x, 0), 6)."""
    return _clamped(lowering, arguments["self"], 0, 6)


@aten("hardtanh")
def hardtanh(lowering: Lowering, *, min_val: float, max_val: float, **arguments: Any) -> str:
    """Clamp to [min_val, max_val]; ReLU6 arrives as this."""
    return _clamped(lowering, arguments["self"], min_val, max_val)


@aten("clamp", "clip")
def clamp(lowering: Lowering, *, min: Any = None, max: Any = None, **arguments: Any) -> str:
    """Clamp to [min, max], either of which may be missing."""
    return _clamped(lowering, arguments["self"], min, max)


@aten("clamp_min")
def clamp_min(lowering: Lowering, *, min: Any, **arguments: Any) -> str:
    """Clamp from below."""
    return _clamped(lowering, arguments["self"], min, None)


@aten("threshold")
def threshold(lowering: Lowering, *, threshold: Any, value: Any, **arguments: Any) -> str:
    """x where x > threshold, else value; ReLU where both are 0."""
    if threshold != 0 or value != 0:
        raise Blocked(f"threshold({threshold}, {value}) is a ReLU only at (0, 0)", RETRAIN)
    return lowering.builder.emit("relu", arguments["self"].name)


@aten("softmax", "_softmax", "log_softmax", "_log_softmax")
def softmax(lowering: Lowering, *, dim: int, **arguments: Any) -> str:
    """Softmax; allowed at the very end."""
    x: Data = arguments["self"]
    if dim % (len(x.shape) + 1) == 0:
        raise Blocked("it works along the batch axis")
    op = "log_softmax" if "log" in lowering.op else "softmax"
    return lowering.builder.emit(op, x.name, dim=dim % (len(x.shape) + 1))


@aten("sigmoid")
def sigmoid(lowering: Lowering, **arguments: Any) -> str:
    """Sigmoid; allowed at the very end."""
    return lowering.builder.emit("sigmoid", arguments["self"].name)


for _name in ("gelu", "silu", "hardswish", "elu", "selu", "celu", "mish", "softplus", "tanh"):
    refuse(_name, reason=f"{_name} is no ReLU; left as it is, it would stay analog")
refuse("leaky_relu", "prelu", "rrelu", reason="its negative side needs neurons with signed spikes")
refuse("hardsigmoid", reason="a sigmoid gate would stay analog")
refuse(
    "layer_norm",
    "group_norm",
    "instance_norm",
    "native_layer_norm",
    "native_group_norm",
    reason="it divides by a spread that depends on the data",
    remedy="retrain with batch norm",
)
refuse(
    "scaled_dot_product_attention",
    reason="softmax attention multiplies values that all depend on the data",
    remedy="",
)
