"""Sums and products written as one op: addcmul, lerp, diff, cumsum, einsum, powers."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch

from convsnn.graph.ops.pieces import REASONS
from convsnn.load.aten.base import Blocked, Constant, Data, Lowering, aten
from convsnn.load.aten.parts import constant_product, plus
from convsnn.load.builder import product
from convsnn.load.contraction import contract


@aten("addcmul")
def addcmul(lowering: Lowering, *, tensor1: Any, tensor2: Any, value: Any = 1, **rest: Any) -> Any:
    """self + value * tensor1 * tensor2."""
    added = constant_product(lowering, tensor1, tensor2, value)
    return plus(lowering, rest["self"], added)


@aten("addcdiv")
def addcdiv(lowering: Lowering, *, tensor1: Any, tensor2: Any, value: Any = 1, **rest: Any) -> Any:
    """self + value * tensor1 / tensor2."""
    if not isinstance(tensor2, Constant):
        power = lowering.builder.emit("power", tensor2.name, exponent=-1.0)
        below = Data(power, tensor2.shape)
        return plus(lowering, rest["self"], constant_product(lowering, tensor1, below, value))
    inverse = Constant(1 / tensor2.value, f"{tensor2.name}.inverse")
    return plus(lowering, rest["self"], constant_product(lowering, tensor1, inverse, value))


@aten("lerp")
def lerp(lowering: Lowering, *, end: Any, weight: Any, **arguments: Any) -> Any:
    """self + weight * (end - self)."""
    if isinstance(weight, Data):
        raise Blocked(REASONS["product"], "")
    number = weight.value if isinstance(weight, Constant) else torch.tensor(float(weight))
    parts = []
    for side, share in ((arguments["self"], 1 - number), (end, number)):
        factor = Constant(share, f"{lowering.builder.layer}.factor")
        parts.append(constant_product(lowering, side, factor, 1))
    return plus(lowering, *parts)


@aten("diff")
def diff(
    lowering: Lowering, *, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None,
    **arguments: Any,
) -> str:  # fmt: skip
    """Differences of neighbours."""
    x: Data = arguments["self"]
    axis = dim % (len(x.shape) + 1)
    if axis == 0 or prepend is not None or append is not None or n < 1:
        raise Blocked("differences over the batch, or with values put before or behind")
    name, size, emit = x.name, x.shape[axis - 1], lowering.builder.emit
    for _ in range(n):
        later = emit("slice", name, dim=axis, start=1, stop=size, step=1)
        earlier = emit("slice", name, dim=axis, start=0, stop=size - 1, step=1)
        name, size = emit("sub", later, earlier), size - 1
    return name


@aten("cumsum")
def cumsum(lowering: Lowering, *, dim: int, **arguments: Any) -> str:
    """Running sums along an axis: a product with a triangle of ones."""
    x: Data = arguments["self"]
    axis, rank = dim % (len(x.shape) + 1), len(x.shape) + 1
    if axis == 0:
        raise Blocked("it adds samples up")
    swap = list(range(rank))
    swap[axis], swap[-1] = swap[-1], swap[axis]
    shape = [x.shape[d - 1] for d in swap[1:]]
    builder = lowering.builder
    name = builder.emit("permute", x.name, dims=swap) if axis != rank - 1 else x.name
    name = product(builder, name, shape, torch.ones(shape[-1], shape[-1]).triu())
    return builder.emit("permute", name, dims=swap) if axis != rank - 1 else name


@aten("pow")
def pow_(lowering: Lowering, *, exponent: Any, **arguments: Any) -> Data | str:
    """The data to a power that is one number."""
    x = arguments["self"]
    number = exponent
    if isinstance(exponent, Constant) and exponent.value.numel() == 1:
        number = exponent.value.item()
    if not isinstance(x, Data) or not isinstance(number, (int, float)):
        raise Blocked("a power whose exponent is not one number is not read")
    if number == 1:
        return x
    return lowering.builder.emit("power", x.name, exponent=float(number))


@aten("einsum")
def einsum(lowering: Lowering, *, equation: str, tensors: Sequence[Any], **rest: Any) -> Any:
    """Einstein's sums that are a transpose, a sum over axes, or a product with one constant."""
    del rest
    left, arrow, out = equation.replace(" ", "").partition("->")
    sides = left.split(",")
    data = [(s, v) for s, v in zip(sides, tensors, strict=True) if isinstance(v, Data)]
    fixed = [(s, v) for s, v in zip(sides, tensors, strict=True) if isinstance(v, Constant)]
    if len(data) == 2 and not fixed:
        return _of_two(lowering, data, out if arrow else None)
    if len(data) != 1 or len(fixed) > 1:
        raise Blocked(REASONS["product"], "")
    if not arrow or "." in equation or any(len(set(s)) < len(s) for s in (*sides, out)):
        raise Blocked(f"the sum '{equation}' is written in a way that is not read")
    (labels, x), batch = data[0], data[0][0][:1]
    if not out.startswith(batch) or any(batch in side for side, _ in fixed):
        raise Blocked("it moves or mixes the batch axis")
    over, factor = fixed[0] if fixed else ("", Constant(torch.tensor(1.0), ""))
    return _contract(lowering, x, labels, (over, factor), out)


def _of_two(lowering: Lowering, data: Sequence[tuple[str, Data]], out: str | None) -> str:
    sides = (data[0][0], data[1][0])
    sizes = {
        letter: size for side, x in data for letter, size in zip(side[1:], x.shape, strict=True)
    }
    names = (data[0][1].name, data[1][1].name)
    made = None if out is None else contract(lowering.builder.emit, names, sides, out, sizes)
    if made is None:
        raise Blocked("a sum of products that is written in a way that is not read")
    return made


def _contract(
    lowering: Lowering, x: Data, labels: str, fixed: tuple[str, Constant], out: str
) -> str:
    over = fixed[0]
    emit, size = lowering.builder.emit, dict(zip(labels[1:], x.shape, strict=True))
    alone = [d for d, k in enumerate(labels) if k not in out and k not in over]
    name = x.name
    if alone:
        count = prod(x.shape[d - 1] for d in alone)
        name = emit("mean", name, dims=alone, keepdim=False)
        labels = "".join(k for k in labels if k in out or k in over)
        ones = lowering.filled(torch.full((1,) * len(labels), float(count)), "factor")
        name = emit("scale", name, ones)
    if over:
        name, labels = _product(lowering, name, labels, size, fixed, out)
    order = [labels.index(k) for k in out]
    return name if order == sorted(order) else emit("permute", name, dims=order)


def _product(
    lowering: Lowering, name: str, labels: str, size: dict[str, int],
    fixed: tuple[str, Constant], out: str,
) -> tuple[str, str]:  # fmt: skip
    """The data times a constant, a matrix for each index of axes that both have and that stay;
    with the letters of what comes out."""
    over, factor = fixed
    emit = lowering.builder.emit
    stack = [k for k in labels[1:] if k in over and k in out]
    summed = [k for k in labels if k in over and k not in out]
    kept = [k for k in labels[1:] if k not in over]
    made = [k for k in over if k not in labels]
    if set(made) - set(out):
        raise Blocked("it sums a constant over an axis that the data has not")
    size = size | dict(zip(over, factor.value.shape, strict=True))

    def sizes(letters: Sequence[str]) -> list[int]:
        return [size[k] for k in letters]

    order = [0, *(labels.index(k) for k in (*stack, *kept, *summed))]
    if order != sorted(order):
        name = emit("permute", name, dims=order)
    inner = prod(sizes(summed))
    rows = [prod(sizes(kept))] if stack else sizes(kept)
    shape = [*sizes(stack), *rows, inner]
    name = emit("reshape", name, shape=shape)
    matrix = factor.value.permute([over.index(k) for k in (*stack, *summed, *made)])
    matrix = matrix.reshape(*sizes(stack), inner, prod(sizes(made)))
    name = product(lowering.builder, name, shape, matrix)
    name = emit("reshape", name, shape=[*sizes(stack), *sizes(kept), *sizes(made)])
    return name, "".join((labels[0], *stack, *kept, *made))
