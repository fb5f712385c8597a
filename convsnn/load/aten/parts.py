"""Sums, factors and maxima that several families of ops are written in."""

from collections.abc import Sequence
from typing import Any

import torch

from convsnn.graph.ops.pieces import REASONS
from convsnn.load.aten.base import Blocked, Constant, Data, Lowering


def times(lowering: Lowering, x: Data, factor: Any) -> Data:
    """x * factor, where the factor is a number or a constant."""
    if not isinstance(factor, Constant) and factor == 1:
        return x
    rank = len(x.shape) + 1
    name = lowering.builder.emit("scale", x.name, lowering.beside(factor, "factor", rank))
    return Data(name, x.shape)


def plus(lowering: Lowering, left: Any, right: Any) -> Any:
    """left + right, each data, a constant or a number."""
    if not isinstance(left, Data):
        left, right = right, left
    if not isinstance(left, Data):
        first, second = (v.value if isinstance(v, Constant) else v for v in (left, right))
        return Constant(torch.as_tensor(first + second), f"{lowering.builder.layer}.constant")
    if isinstance(right, Data):
        return Data(lowering.builder.emit("add", left.name, right.name), lowering.shape)
    name = lowering.beside(right, "constant", len(lowering.shape) + 1)
    return Data(lowering.builder.emit("add_constant", left.name, name), lowering.shape)


def constant_product(lowering: Lowering, left: Any, right: Any, value: Any) -> Any:
    """left * right * value with at most one of them data."""
    if isinstance(left, Data) and isinstance(right, Data):
        raise Blocked(REASONS["product"], "")
    if not isinstance(left, Data):
        left, right = right, left
    plain = right.value if isinstance(right, Constant) else right
    factor = Constant(torch.as_tensor(plain * value), f"{lowering.builder.layer}.factor")
    if isinstance(left, Data):
        return times(lowering, left, factor)
    first = left.value if isinstance(left, Constant) else left
    return Constant(torch.as_tensor(first * factor.value), f"{lowering.builder.layer}.constant")


def largest(lowering: Lowering, x: Data, dim: Sequence[int], keepdim: bool) -> str:
    """Maximum over all spatial axes, as max pooling; Blocked over others."""
    rank = len(x.shape) + 1
    if sorted(d % rank for d in dim) != list(range(2, rank)) or rank > 5:
        raise Blocked("a maximum over other than all spatial axes has no spiking form here")
    kernel = list(x.shape[1:])
    ones, padding = [1] * len(kernel), [0] * (2 * len(kernel))
    name = lowering.builder.emit(
        "max_pool", x.name, kernel=kernel, stride=kernel, padding=padding, dilation=ones
    )
    return name if keepdim else lowering.builder.emit("reshape", name, shape=[x.shape[0]])
