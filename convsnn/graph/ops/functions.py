"""Functions without state: the table of what is neither linear nor a neuron.

A spiking network computes them on accumulated values, not on single spikes:

    y(t) = t f(S(t) / t) - (t - 1) f(S(t-1) / (t-1))        S(t) the sum of t steps of its input

which adds up to T f(mean of the input), exactly at every T. Where layers fire one after another
that is f of the finished mean. Either way they are analog: what has one is called so and charged
for it. Affine parts (of norms) are separate `scale` and `add_constant` nodes, which fold into
weights. Sources of the forms: torch's and ONNX's own definitions. What an element takes counts a
function of one value, and an exponential, a root or a reciprocal, as one lookup; a softmax besides
subtracts its largest value, adds up and multiplies, and a layer norm adds three times (its mean,
what is left, the squares) and multiplies twice. What looks at a sign or a bound compares, as a ReLU
does, and a square or a cube multiplies.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from convsnn.graph.ops.base import Arithmetic, Role, Shape, op

Run = Callable[..., Tensor]


LOOKUP = Arithmetic(lookups=1)


def function(
    name: str,
    each: Arithmetic | Callable[[Mapping[str, Any]], Arithmetic] = LOOKUP,
    row: Arithmetic | None = None,
) -> Callable[[Run], Run]:
    """Decorator: enter a row of the table. `each` is what an element takes, or says it of the
    node's attributes; `row` what is done once for all elements that the function reads together,
    along its `dim` or `dims`."""

    def count(inputs: Sequence[Shape], output: Shape, attrs: Mapping[str, Any]) -> Arithmetic:
        elements = max(prod(shape) for shape in (*inputs, output))
        work = (each if isinstance(each, Arithmetic) else each(attrs)) * elements
        if row is None:
            return work
        along = attrs["dims"] if "dims" in attrs else [attrs["dim"]]
        whole = (1, *inputs[0])  # axes are counted with the batch
        return work + row * (elements // max(1, prod(whole[axis] for axis in along)))

    return op(name, Role.FUNCTION, dense=count)


@function("gelu")
def gelu(x: Tensor, *, approximate: Literal["none", "tanh"] = "none") -> Tensor:
    """x Phi(x), with Phi by the error function or by its approximation with tanh."""
    return F.gelu(x, approximate=approximate)


@function("silu")
def silu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """x sigmoid(alpha x)."""
    return F.silu(x) if alpha == 1 else x * torch.sigmoid(alpha * x)


@function("hard_swish", Arithmetic(additions=1, multiplications=2, comparisons=2))
def hard_swish(x: Tensor) -> Tensor:
    """x min(max(x + 3, 0), 6) / 6."""
    return F.hardswish(x)


@function("hard_sigmoid", Arithmetic(additions=1, multiplications=1, comparisons=2))
def hard_sigmoid(x: Tensor, *, alpha: float = 1 / 6, beta: float = 0.5) -> Tensor:
    """min(max(alpha x + beta, 0), 1)."""
    return (x * alpha + beta).clamp(0.0, 1.0)


@function("sigmoid_inside")
def sigmoid_inside(x: Tensor) -> Tensor:
    """Logistic function anywhere but at the end, where it is a readout."""
    return torch.sigmoid(x)


@function("log_sigmoid")
def log_sigmoid(x: Tensor) -> Tensor:
    """Logarithm of the logistic function."""
    return F.logsigmoid(x)


@function("tanh")
def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return torch.tanh(x)


@function("elu", Arithmetic(comparisons=1, lookups=1))
def elu(x: Tensor, *, alpha: float = 1.0, scale: float = 1.0, inner: float = 1.0) -> Tensor:
    """scale x where x > 0, else scale alpha (exp(inner x) - 1): ELU, SELU and CELU."""
    below = scale * alpha * torch.expm1(inner * x.clamp(max=0))
    return torch.where(x > 0, scale * x, below)


@function("softplus")
def softplus(x: Tensor, *, beta: float = 1.0, threshold: float = math.inf) -> Tensor:
    """log(1 + exp(beta x)) / beta; x itself where beta x is above the threshold."""
    smooth = torch.logaddexp(beta * x, torch.zeros_like(x)) / beta
    return torch.where(beta * x > threshold, x, smooth)


@function("softsign")
def softsign(x: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return x / (1 + x.abs())


@function("mish")
def mish(x: Tensor) -> Tensor:
    """x tanh(softplus(x))."""
    return F.mish(x)


@function("softmax_inside", Arithmetic(2, 1, 1, 1), LOOKUP)
def softmax_inside(x: Tensor, *, dim: int) -> Tensor:
    """Softmax anywhere but at the end, where it is a readout."""
    return torch.softmax(x, dim)


@function("log_softmax_inside", Arithmetic(3, 0, 1, 1), LOOKUP)
def log_softmax_inside(x: Tensor, *, dim: int) -> Tensor:
    """Logarithm of softmax, the same."""
    return torch.log_softmax(x, dim)


@function("layer_norm", Arithmetic(3, 2), Arithmetic(1, 2, 0, 1))
def layer_norm(x: Tensor, *, dims: Sequence[int], epsilon: float) -> Tensor:
    """(x - mean) / sqrt(variance + epsilon) over the axes `dims`; group and instance norm too,
    which stand between reshapes."""
    centred = x - x.mean(list(dims), keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(list(dims), keepdim=True) + epsilon)


@function("rms_norm", Arithmetic(1, 2), Arithmetic(1, 1, 0, 1))
def rms_norm(x: Tensor, *, dims: Sequence[int], epsilon: float) -> Tensor:
    """x / sqrt(mean square + epsilon) over the axes `dims`."""
    return x * torch.rsqrt(x.square().mean(list(dims), keepdim=True) + epsilon)


@function("vector_norm", Arithmetic(1, 1), LOOKUP)
def vector_norm(x: Tensor, *, dims: Sequence[int], order: float = 2.0) -> Tensor:
    """Length of vectors along the axes `dims`, which are kept."""
    return torch.linalg.vector_norm(x, order, list(dims), keepdim=True)


@function("quotient", Arithmetic(multiplications=1, lookups=1))
def quotient(a: Tensor, b: Tensor) -> Tensor:
    """a / b, element by element."""
    return a / b


@function("modulate", Arithmetic(multiplications=1))
def modulate(a: Tensor, b: Tensor) -> Tensor:
    """a * b, both made of one and the same value without weights between: a function of it, as
    x sigmoid(x) is. What has weights between is a `multiply` (see `convsnn.passes.smooth`)."""
    return a * b


def _of_power(attrs: Mapping[str, Any]) -> Arithmetic:
    exponent = attrs["exponent"]
    return Arithmetic(multiplications=int(exponent) - 1) if exponent in (2, 3) else LOOKUP


@function("power", _of_power)
def power(x: Tensor, *, exponent: float) -> Tensor:
    """x to a fixed power."""
    return x.square() if exponent == 2 else torch.pow(x, exponent)


_PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "abs": torch.abs,
    "erf": torch.erf,
    "exp": torch.exp,
    "log": torch.log,
    "cos": torch.cos,
    "sin": torch.sin,
}


def _of_elementary(attrs: Mapping[str, Any]) -> Arithmetic:
    return Arithmetic(comparisons=1) if attrs["kind"] == "abs" else LOOKUP


@function("elementary", _of_elementary)
def elementary(x: Tensor, *, kind: str) -> Tensor:
    """One of `abs`, `erf`, `exp`, `log`, `cos`, `sin`, as longer formulas are made of."""
    return _PLAIN[kind](x)


def _of_bound(attrs: Mapping[str, Any]) -> Arithmetic:
    return Arithmetic(comparisons=sum(attrs[end] is not None for end in ("low", "high")))


@function("bound", _of_bound)
def bound(x: Tensor, *, low: float | None, high: float | None) -> Tensor:
    """x between bounds, either of which may be missing, and which are no neuron's."""
    return torch.clamp(x, low, high)


@function("largest", Arithmetic(comparisons=1))
def largest(x: Tensor, *, dims: Sequence[int]) -> Tensor:
    """The largest value along the axes `dims`, which are kept."""
    return x.amax(list(dims), keepdim=True)


@function("larger", Arithmetic(comparisons=1))
def larger(a: Tensor, b: Tensor) -> Tensor:
    """The larger of two values."""
    return torch.maximum(a, b)


@function("smaller", Arithmetic(comparisons=1))
def smaller(a: Tensor, b: Tensor) -> Tensor:
    """The smaller of two values."""
    return torch.minimum(a, b)
