"""Pieces that activations are written in: rounding, comparing, clamping, choosing.

They can be run, so that a network holding them can be looked at and verified. Passes put the
pieces of a known activation together (`convsnn.passes.spellings`); what is left blocks.
"""

from typing import Literal

import torch
from torch import Tensor

from convsnn.graph.ops.base import Role, op

_ROUND = {"floor": torch.floor, "round": torch.round}
_COMPARE = {"gt": torch.gt, "ge": torch.ge, "lt": torch.lt, "le": torch.le}


@op("rounding", Role.BLOCKED)
def rounding(
    x: Tensor, *, how: Literal["floor", "round"], kind: str, reason: str, remedy: str
) -> Tensor:
    """The whole number below x, or the nearest (ties to even)."""
    del kind, reason, remedy
    return _ROUND[how](x)


@op("clamp", Role.BLOCKED)
def clamp(
    x: Tensor, *, low: float | None, high: float | None, kind: str, reason: str, remedy: str
) -> Tensor:
    """x between bounds, either of which may be missing; one from 0 upwards is `relu` or `clip`."""
    del kind, reason, remedy
    return x if low is None and high is None else torch.clamp(x, low, high)


@op("compare", Role.BLOCKED)
def compare(
    x: Tensor, *, relation: str, bound: float, kind: str, reason: str, remedy: str
) -> Tensor:
    """1 where x is greater than (gt), less or equal (le)... the bound, else 0."""
    del kind, reason, remedy
    return _COMPARE[relation](x, bound).to(x.dtype)


@op("select", Role.BLOCKED)
def select(
    mask: Tensor, chosen: Tensor, other: Tensor, *, kind: str, reason: str, remedy: str
) -> Tensor:
    """`chosen` where the mask is not 0, `other` elsewhere."""
    del kind, reason, remedy
    return torch.where(mask != 0, chosen, other)


@op("product", Role.BLOCKED)
def product(a: Tensor, b: Tensor, *, kind: str, reason: str, remedy: str) -> Tensor:
    """Product of two data values, one of which is a comparison."""
    del kind, reason, remedy
    return a * b


@op("maximum", Role.BLOCKED)
def maximum(a: Tensor, b: Tensor, *, kind: str, reason: str, remedy: str) -> Tensor:
    """The larger of two data values."""
    del kind, reason, remedy
    return torch.maximum(a, b)


@op("abs", Role.BLOCKED)
def absolute(x: Tensor, *, kind: str, reason: str, remedy: str) -> Tensor:
    """|x|."""
    del kind, reason, remedy
    return x.abs()


@op("sign", Role.BLOCKED)
def sign(x: Tensor, *, kind: str, reason: str, remedy: str) -> Tensor:
    """1 where x > 0, -1 where x < 0, else 0."""
    del kind, reason, remedy
    return x.sign()


@op("argmax", Role.BLOCKED)
def argmax(
    x: Tensor, *, dim: int, kind: str, reason: str, remedy: str, keepdim: bool = False
) -> Tensor:
    """The index of the largest value along axis `dim`, as a float; at the end it is cut off."""
    del kind, reason, remedy
    return x.argmax(dim, keepdim).to(x.dtype)


REASONS = {
    "rounding": "a rounding that is not part of a clip-floor activation",
    "clamp": "only a lower bound of 0 is a spiking neuron",
    "compare": "a comparison that is not part of a ReLU",
    "select": "it chooses between values by the data, and is no ReLU",
    "product": "a product of two values that both depend on the input is not linear",
    "abs": "an absolute value",
    "sign": "a sign that is not multiplied with its own absolute value",
    "argmax": "the index of the largest value is no value; only behind the scores it is cut off",
    "maximum": "a maximum that is no ReLU; it would stay analog",
}
