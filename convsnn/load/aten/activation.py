"""Activations, readouts, and the activations that are refused by name."""

import math
from typing import Any

import torch

from convsnn.load.aten.base import RETRAIN, Blocked, Constant, Data, Lowering, aten
from convsnn.load.aten.parts import largest, plus, product_of, smallest, times
from convsnn.load.builder import FACTOR, GUARD

SCORES = "leave the choice of the largest to whoever reads the scores"


def _clamped(lowering: Lowering, x: Data, low: Any, high: Any) -> str:
    given = [b for b in (low, high) if b is not None]
    if any(isinstance(b, Constant) and b.value.is_meta for b in given):  # only looked at
        return lowering.builder.emit("bound", x.name, low=None, high=None)
    low, high = (None if bound is None else _number(bound, "bound") for bound in (low, high))
    if x.shape != lowering.shape:
        raise Blocked("its bound repeats the data along an axis")
    unbounded = high is None or high == math.inf
    if low == 0 and unbounded:
        return lowering.builder.emit("relu", x.name)
    if low == 0 and high > 0:
        return lowering.builder.emit("clip", x.name, ceiling=float(high))
    if low is not None and 0 < low < GUARD and unbounded:
        return lowering.builder.emit("bound", x.name, low=float(low), high=None)
    if high == -math.inf or low == math.inf:
        raise Blocked(f"clamp to [{low}, {high}] leaves nothing")
    low, high = (None if b is None or math.isinf(b) else float(b) for b in (low, high))
    if low is None and high is None:
        return x.name
    detail = f"clamp to [{low}, {high}]"
    return lowering.builder.piece("clamp", x.name, kind="clamp", detail=detail, low=low, high=high)


def _number(value: Any, what: str) -> float:
    """A plain number, or a constant that is the same number everywhere."""
    if isinstance(value, Constant):
        first = value.value.detach().flatten()[0]
        if value.value.is_floating_point() and bool((value.value == first).all()):
            return float(first)
        if bool((value.value != first).any()):
            raise Blocked(f"its {what} is not one number, but one for each channel", FACTOR)
    elif isinstance(value, (int, float)):
        return float(value)
    raise Blocked(f"its {what} is not one number", RETRAIN)


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


@aten("clamp_max")
def clamp_max(lowering: Lowering, *, max: Any, **arguments: Any) -> str:
    """Clamp from above: the upper bound of a clipped ReLU."""
    return _clamped(lowering, arguments["self"], None, max)


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


@aten("leaky_relu")
def leaky_relu(lowering: Lowering, *, negative_slope: float, **arguments: Any) -> str:
    """x where x > 0, else negative_slope * x."""
    return _leaky(lowering, arguments["self"], Constant(torch.tensor(negative_slope), ""))


@aten("rrelu")
def rrelu(lowering: Lowering, *, lower: float, upper: float, training: bool, **rest: Any) -> str:
    """Leaky ReLU with the middle of the range that its slope is drawn from in training."""
    if training:
        raise Blocked("it draws its slope at random", "export the network in evaluation mode")
    return _leaky(lowering, rest["self"], Constant(torch.tensor((lower + upper) / 2), ""))


@aten("prelu", "_prelu_kernel")
def prelu(lowering: Lowering, *, weight: Constant, **arguments: Any) -> str:
    """Leaky ReLU with a learned slope, one for all or one a channel (axis 1)."""
    if not isinstance(weight, Constant):
        raise Blocked("its slope depends on the data")
    return _leaky(lowering, arguments["self"], weight)


def _leaky(lowering: Lowering, x: Data, slope: Constant) -> str:
    rank = len(x.shape) + 1
    values = slope.value
    if values.dim() < rank:  # along the channels
        values = values.reshape((1, -1, *[1] * (rank - 2)) if rank > 1 else (-1,))
    if not bool(values.any()):
        return lowering.builder.emit("relu", x.name)
    return lowering.builder.emit("leaky_relu", x.name, lowering.filled(values, "slope"))


@aten("floor", "round")
def rounding(lowering: Lowering, *, decimals: int = 0, **arguments: Any) -> str:
    """A rounding to whole numbers: part of a clip-floor activation, or it blocks."""
    if decimals:
        raise Blocked("it rounds to decimals")
    name, how = arguments["self"].name, lowering.op.rstrip("_")
    return lowering.builder.piece("rounding", name, kind=how, how=how, remedy="")


@aten("gt", "ge", "lt", "le")
def compare(lowering: Lowering, *, other: Any, **arguments: Any) -> str:
    """A comparison with a number: part of a ReLU, or it blocks."""
    x, relation = arguments["self"], lowering.op
    if not isinstance(x, Data):
        x, other, relation = other, x, {"g": "l", "l": "g"}[relation[0]] + relation[1]
    if isinstance(other, Data):
        raise Blocked("it compares two values that depend on the input", RETRAIN)
    bound = _number(other, "bound")
    return lowering.builder.piece("compare", x.name, kind=relation, relation=relation, bound=bound)


@aten("where")
def where(lowering: Lowering, *, condition: Any, other: Any, **arguments: Any) -> str:
    """A choice by a comparison: a ReLU, or it blocks."""
    return _select(lowering, condition, arguments["self"], other)


@aten("masked_fill")
def masked_fill(lowering: Lowering, *, mask: Any, value: Any, **arguments: Any) -> str:
    """A number where the mask is true: a ReLU, or it blocks."""
    return _select(lowering, mask, value, arguments["self"])


def _select(lowering: Lowering, mask: Any, chosen: Any, other: Any) -> Any:
    if not isinstance(mask, Data):
        return _by_constant(lowering, mask, chosen, other)
    rank = len(lowering.shape) + 1
    sides = [
        side.name if isinstance(side, Data) else lowering.beside(side, "constant", rank)
        for side in (chosen, other)
    ]
    return lowering.builder.piece("select", mask.name, *sides, kind=lowering.op)


def _by_constant(lowering: Lowering, mask: Constant, chosen: Any, other: Any) -> Any:
    """Each side times where it is chosen: linear."""
    parts: list[Data | Constant] = []
    for side, share in ((chosen, mask.value.float()), (other, 1 - mask.value.float())):
        factor = Constant(share, f"{lowering.builder.layer}.mask")
        if isinstance(side, Data):
            parts.append(times(lowering, side, factor))
        else:
            value = side.value if isinstance(side, Constant) else side
            parts.append(Constant(torch.where(share > 0, value, 0.0), f"{factor.name}ed"))
    return plus(lowering, *parts)


@aten("abs")
def absolute(lowering: Lowering, **arguments: Any) -> str:
    """|x|: a pass writes it as two rectifiers, or as one where it can."""
    return lowering.builder.piece("abs", arguments["self"].name, kind="abs")


@aten("sign", "sgn")
def sign(lowering: Lowering, **arguments: Any) -> str:
    """1, 0 or -1: part of a known whole, or it blocks."""
    return lowering.builder.piece("sign", arguments["self"].name, kind="sign")


@aten("argmax")
def argmax(lowering: Lowering, *, dim: Any = None, keepdim: bool = False, **rest: Any) -> str:
    """The index of the largest value: cut off at the end, or it blocks."""
    return _index(lowering, rest["self"], dim, keepdim)


def _index(lowering: Lowering, x: Data, dim: int | None, keepdim: bool) -> str:
    if dim is None or dim % (len(x.shape) + 1) == 0:
        raise Blocked("it chooses among the samples of a batch")
    dim %= len(x.shape) + 1
    said = {"kind": "argmax", "remedy": SCORES}
    return lowering.builder.piece("argmax", x.name, dim=dim, keepdim=keepdim, **said)


@aten("maximum", "max")
def maximum(
    lowering: Lowering, *, other: Any = None, dim: Any = None, keepdim: bool = False, **rest: Any
) -> str | tuple[str, ...]:
    """The larger of two values, a ReLU where one of them is zero; or the largest along an axis."""
    x = rest["self"]
    if dim is not None:
        index = _index(lowering, x, dim, keepdim)
        return largest(lowering, x, [dim], keepdim), index
    if other is None:
        raise Blocked("it takes the largest value of all, of whatever sample")
    if isinstance(x, Data) and isinstance(other, Data):
        return lowering.builder.piece("maximum", x.name, other.name, kind=lowering.op)
    x, bound = (x, other) if isinstance(x, Data) else (other, x)
    return _clamped(lowering, x, bound, None)


@aten("minimum", "min")
def minimum(
    lowering: Lowering, *, other: Any = None, dim: Any = None, keepdim: bool = False, **rest: Any
) -> str | tuple[str, ...]:
    """The smaller of a value and a number, the upper bound of a clipped ReLU; or the smallest
    along an axis."""
    x = rest["self"]
    if dim is not None:
        index = _index(lowering, times(lowering, x, -1.0), dim, keepdim)
        return smallest(lowering, x, [dim], keepdim), index
    if other is None:
        raise Blocked("it takes the smallest value of all, of whatever sample")
    if isinstance(x, Data) and isinstance(other, Data):
        return product_of(lowering, x, other, "smaller")
    x, bound = (x, other) if isinstance(x, Data) else (other, x)
    return _clamped(lowering, x, None, bound)


@aten("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full")
def filled_like(lowering: Lowering, *, fill_value: Any = None, **arguments: Any) -> Constant:
    """A constant of the shape of a value; what it holds does not depend on the input."""
    del arguments
    kind = lowering.op.removeprefix("new_").removesuffix("_like")
    value = {"zeros": 0.0, "ones": 1.0}.get(kind, fill_value)
    full = torch.full((1, *lowering.shape), _number(value, "value"))
    return Constant(full, f"{lowering.builder.layer}.constant")


@aten("softmax", "_softmax", "log_softmax", "_log_softmax")
def softmax(lowering: Lowering, *, dim: int, **arguments: Any) -> str:
    """Softmax: a readout at the very end, a function elsewhere."""
    x: Data = arguments["self"]
    if dim % (len(x.shape) + 1) == 0:
        raise Blocked("it works along the batch axis")
    op = "log_softmax" if "log" in lowering.op else "softmax"
    return lowering.builder.emit(op, x.name, dim=dim % (len(x.shape) + 1))


@aten("sigmoid")
def sigmoid(lowering: Lowering, **arguments: Any) -> str:
    """Sigmoid: a readout at the very end, a function elsewhere."""
    return lowering.builder.emit("sigmoid", arguments["self"].name)
