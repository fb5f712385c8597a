"""Sums, factors and maxima that several families of ops are written in."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch

from convsnn.load.aten.base import MIXED, Blocked, Constant, Data, Lowering

HIDDEN = 1e9  # below every score by more than any exponential tells apart


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
    name = lowering.beside(finite(right), "constant", len(lowering.shape) + 1)
    return Data(lowering.builder.emit("add_constant", left.name, name), lowering.shape)


def finite(added: Any) -> Any:
    """What is added to scores, with numbers in the place of minus infinity that hide as well.

    Blocked where a whole row is hidden: the original gives no numbers there.
    """
    if not isinstance(added, Constant) or added.value.is_meta:  # only looked at
        return added
    if not bool(added.value.isneginf().any()):
        return added
    if bool(added.value.isneginf().all(-1).any()):
        raise Blocked("its mask hides everything, and the original's answer is no number")
    return Constant(added.value.clamp(min=-HIDDEN), added.name)


def product_of(lowering: Lowering, left: Data, right: Data, op: str = "multiply") -> str:
    """The product of two values that both depend on the input."""
    if len(left.shape) != len(right.shape):
        raise Blocked(MIXED)  # broadcasting would meet the batch with another axis
    return lowering.builder.emit(op, left.name, right.name)


def constant_product(lowering: Lowering, left: Any, right: Any, value: Any) -> Any:
    """left * right * value."""
    if isinstance(left, Data) and isinstance(right, Data):
        name = product_of(lowering, left, right)
        pairs = zip(left.shape, right.shape, strict=True)
        return times(lowering, Data(name, tuple(max(p) for p in pairs)), value)
    if not isinstance(left, Data):
        left, right = right, left
    plain = right.value if isinstance(right, Constant) else right
    factor = Constant(torch.as_tensor(plain * value), f"{lowering.builder.layer}.factor")
    if isinstance(left, Data):
        return times(lowering, left, factor)
    first = left.value if isinstance(left, Constant) else left
    return Constant(torch.as_tensor(first * factor.value), f"{lowering.builder.layer}.constant")


def largest(lowering: Lowering, x: Data, dim: Sequence[int], keepdim: bool) -> str:
    """Maximum over all spatial axes, as max pooling; over others a function."""
    rank = len(x.shape) + 1
    dims = sorted({d % rank for d in dim})
    if not dims or 0 in dims:
        raise Blocked("it runs over the samples of a batch")
    if dims != list(range(2, rank)) or rank > 5:
        name = lowering.builder.emit("largest", x.name, dims=dims)
        shape = [n for d, n in enumerate(x.shape, 1) if d not in dims]
        return name if keepdim else lowering.builder.emit("reshape", name, shape=shape)
    kernel = list(x.shape[1:])
    ones, padding = [1] * len(kernel), [0] * (2 * len(kernel))
    name = lowering.builder.emit(
        "max_pool", x.name, kernel=kernel, stride=kernel, padding=padding, dilation=ones
    )
    return name if keepdim else lowering.builder.emit("reshape", name, shape=[x.shape[0]])


def smallest(lowering: Lowering, x: Data, dim: Sequence[int], keepdim: bool) -> str:
    """Minimum over axes: what is largest of -x."""
    dims, emit = sorted({d % (len(x.shape) + 1) for d in dim}), lowering.builder.emit
    if not dims or 0 in dims:
        raise Blocked("it runs over the samples of a batch")
    name = emit("largest", times(lowering, x, -1.0).name, dims=dims)
    kept = [1 if d in dims else n for d, n in enumerate(x.shape, 1)]
    name = times(lowering, Data(name, tuple(kept)), -1.0).name
    shape = [n for d, n in enumerate(x.shape, 1) if d not in dims]
    return name if keepdim else emit("reshape", name, shape=shape)


def affine(lowering: Lowering, name: str, weight: Any, bias: Any, shape: Sequence[int]) -> str:
    """name * weight + bias, of constants that stand in `shape` of a sample."""
    x = Data(name, lowering.shape)
    for given, combine in ((weight, times), (bias, plus)):
        if given is None:
            continue
        if not isinstance(given, Constant):
            raise Blocked("its weight depends on the data")
        x = combine(lowering, x, Constant(given.value.reshape(1, *shape), f"{given.name}.wide"))
    return x.name


def grouped(
    lowering: Lowering, x: Data, groups: int, weight: Any, bias: Any, epsilon: float
) -> str:
    """`x` normalised group by group of its channels."""
    emit = lowering.builder.emit
    flat = emit("reshape", x.name, shape=[groups, prod(x.shape) // groups])
    name = emit("layer_norm", flat, dims=[2], epsilon=epsilon)
    name = emit("reshape", name, shape=list(x.shape))
    return affine(lowering, name, weight, bias, [x.shape[0], *[1] * (len(x.shape) - 1)])
