"""How functions and products of finished means are written in ONNX (opset 17).

What torch computes with one kernel stands here as the formula of `convsnn.graph.ops.functions`, in
ops that ONNX Runtime has: equal but for rounding.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from convsnn.errors import ExportError
from convsnn.export.onnx import doubles
from convsnn.export.onnx.emitter import Emitter
from convsnn.export.onnx.ops import writes
from convsnn.graph import Graph, Node

Formula = Callable[..., str]
_FLOAT32_ONLY = ("Erf", "HardSwish", "HardSigmoid", "Softsign", "Cos", "Sin")  # in ONNX Runtime


def formula(op: str) -> Callable[[Formula], Formula]:
    """Decorator: enter the writer of an op, `write(maths, *values of its inputs, **attributes)`."""

    def enter(write: Formula) -> Formula:
        @writes(op)
        def writer(emit: Emitter, graph: Graph, node: Node, given: Sequence[str]) -> str:
            del graph
            value = write(_Maths(emit, node), *given, **node.attrs)
            return emit.op("Identity", value, name=node.name)  # the layer, for who looks for it

        return write

    return enter


class _Maths:
    """Short names for what formulas are made of; numbers stand for themselves."""

    def __init__(self, emit: Emitter, node: Node) -> None:
        self.emit, self.node = emit, node

    def __call__(self, kind: str, *values: str | float, **attrs: Any) -> str:
        if kind in _FLOAT32_ONLY:
            doubles.require_float32(self.emit, self.node, kind)
        names = [v if isinstance(v, str) else self.emit.number(v) for v in values]
        return self.emit.op(kind, *names, **attrs)

    def mean(self, x: str, dims: Sequence[int]) -> str:
        """Over the axes `dims`, which are kept."""
        return self("ReduceMean", x, axes=list(dims), keepdims=1)

    def softplus(self, x: str) -> str:
        """log(1 + exp(x))."""
        return doubles.softplus(self.emit, x)

    def by_root(self, x: str, square: str, epsilon: float) -> str:
        """x / sqrt(square + epsilon)."""
        return self("Div", x, self("Sqrt", self("Add", square, epsilon)))


def _plain(op: str, kind: str) -> None:
    @formula(op)
    def write(maths: _Maths, *values: str) -> str:
        return maths(kind, *values)


for _op, _kind in {
    "sigmoid_inside": "Sigmoid", "tanh": "Tanh", "softsign": "Softsign", "hard_swish": "HardSwish",
    "quotient": "Div", "modulate": "Mul", "multiply": "Mul", "matmul": "MatMul", "larger": "Max",
    "smaller": "Min",
}.items():  # fmt: skip
    _plain(_op, _kind)


@formula("gelu")
def _gelu(maths: _Maths, x: str, *, approximate: str = "none") -> str:
    if approximate == "none":
        bent = maths("Erf", maths("Mul", x, math.sqrt(0.5)))
    else:
        cube = maths("Mul", maths("Mul", x, x), x)
        bent = maths("Add", x, maths("Mul", cube, 0.044715))
        bent = maths("Tanh", maths("Mul", bent, math.sqrt(2 / math.pi)))
    return maths("Mul", maths("Mul", x, 0.5), maths("Add", bent, 1.0))


@formula("silu")
def _silu(maths: _Maths, x: str, *, alpha: float = 1.0) -> str:
    inner = x if alpha == 1 else maths("Mul", x, alpha)
    return maths("Mul", x, maths("Sigmoid", inner))


@formula("hard_sigmoid")
def _hard_sigmoid(maths: _Maths, x: str, *, alpha: float = 1 / 6, beta: float = 0.5) -> str:
    return maths("HardSigmoid", x, alpha=alpha, beta=beta)


@formula("log_sigmoid")
def _log_sigmoid(maths: _Maths, x: str) -> str:
    return maths("Neg", maths.softplus(maths("Neg", x)))


@formula("elu")
def _elu(
    maths: _Maths, x: str, *, alpha: float = 1.0, scale: float = 1.0, inner: float = 1.0
) -> str:
    below = maths("Exp", maths("Mul", maths("Min", x, 0.0), inner))
    below = maths("Mul", maths("Sub", below, 1.0), alpha * scale)
    return maths("Where", maths("Greater", x, 0.0), maths("Mul", x, scale), below)


@formula("softplus")
def _softplus(maths: _Maths, x: str, *, beta: float = 1.0, threshold: float = math.inf) -> str:
    inner = maths("Mul", x, beta)
    smooth = maths("Div", maths.softplus(inner), beta)
    if math.isinf(threshold):
        return smooth
    return maths("Where", maths("Greater", inner, threshold), x, smooth)


@formula("mish")
def _mish(maths: _Maths, x: str) -> str:
    return maths("Mul", x, maths("Tanh", maths.softplus(x)))


@formula("layer_norm")
def _layer_norm(maths: _Maths, x: str, *, dims: Sequence[int], epsilon: float) -> str:
    centred = maths("Sub", x, maths.mean(x, dims))
    return maths.by_root(centred, maths.mean(maths("Mul", centred, centred), dims), epsilon)


@formula("rms_norm")
def _rms_norm(maths: _Maths, x: str, *, dims: Sequence[int], epsilon: float) -> str:
    return maths.by_root(x, maths.mean(maths("Mul", x, x), dims), epsilon)


@formula("vector_norm")
def _vector_norm(maths: _Maths, x: str, *, dims: Sequence[int], order: float = 2.0) -> str:
    kinds = {1.0: "ReduceL1", 2.0: "ReduceL2", math.inf: "ReduceMax"}
    if order not in kinds:
        where = f"layer '{maths.node.name}' ({maths.node.op})"
        raise ExportError(f"{where}: the norm of order {order:g} has no form in ONNX here")
    value = maths("Abs", x) if math.isinf(order) else x
    return maths(kinds[order], value, axes=list(dims), keepdims=1)


@formula("power")
def _power(maths: _Maths, x: str, *, exponent: float) -> str:
    return maths("Mul", x, x) if exponent == 2 else maths("Pow", x, float(exponent))


@formula("elementary")
def _elementary(maths: _Maths, x: str, *, kind: str) -> str:
    return maths(kind.capitalize(), x)


@formula("bound")
def _bound(maths: _Maths, x: str, *, low: float | None, high: float | None) -> str:
    return maths("Clip", x, "" if low is None else low, "" if high is None else high)


@formula("largest")
def _largest(maths: _Maths, x: str, *, dims: Sequence[int]) -> str:
    return maths("ReduceMax", x, axes=list(dims), keepdims=1)
