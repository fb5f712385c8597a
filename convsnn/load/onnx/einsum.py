"""Einsum of data and at most one constant: sums over axes, a product with a matrix, a transpose."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor

from convsnn.load.builder import product
from convsnn.load.contraction import contract
from convsnn.load.onnx.base import ONNX_OPS, Net
from convsnn.load.onnx.values import Blocked, Constant, Data, Value

_SPARE = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class _Sides:
    """Letters of the data, of the constant ('' without one) and of the result."""

    data: str
    fixed: str
    out: str

    def summed(self) -> list[int]:
        """Axes of the data that only it has."""
        return [i for i, c in enumerate(self.data) if c not in self.out and c not in self.fixed]


@ONNX_OPS.register("Einsum")
def einsum(net: Net, *inputs: Value, equation: str) -> Data:
    """Sum of products by Einstein's convention, linear in its only data operand."""
    operands = [v for v in inputs if isinstance(v, (Data, Constant))]
    data = [v for v in operands if isinstance(v, Data)]
    if len(data) == 2 == len(operands):
        return _of_two(net, equation, data)
    if len(data) != 1:
        raise Blocked("it multiplies more than two values that depend on the data")
    if len(operands) > 2:
        raise Blocked("it multiplies by more than one constant")
    x = data[0]
    sides = _read(net, equation, operands)
    constant = next((v for v in operands if isinstance(v, Constant)), None)
    weight = np.float32(1) if constant is None else constant.array.astype(np.float32)
    factor = torch.from_numpy(np.array(weight))
    batch = sides.data[0]
    if batch in sides.fixed and factor.shape[sides.fixed.index(batch)] == 1:
        factor = factor.squeeze(sides.fixed.index(batch))
        sides = _Sides(sides.data, sides.fixed.replace(batch, ""), sides.out)
    if batch not in sides.out or batch in sides.fixed:
        raise net.mixed("it sums over axis 0 or multiplies along it")
    x, sides = _reduced(net, x, sides)
    own = [i for i, c in enumerate(sides.fixed) if c not in sides.data and c not in sides.out]
    if own:
        factor = factor.sum(own)
        letters = "".join(c for i, c in enumerate(sides.fixed) if i not in own)
        sides = _Sides(sides.data, letters, sides.out)
    if constant is not None:
        x, sides = _multiplied(net, x, sides, factor)
    order = [sides.data.index(c) for c in sides.out]
    if order[0] != 0:
        return net.moved(x, order)
    return net.permute(x, order)


def _of_two(net: Net, equation: str, data: Sequence[Data]) -> Data:
    """Both operands depend on the input."""
    sides = _read(net, equation, data)
    sizes = {
        letter: size
        for side, x in ((sides.data, data[0]), (sides.fixed, data[1]))
        for letter, size in zip(side[1:], x.shape, strict=True)
    }
    net.builder.layer = net.label
    names = (data[0].name, data[1].name)
    made = contract(net.builder.emit, names, (sides.data, sides.fixed), sides.out, sizes)
    if made is None:
        raise Blocked("a sum of products that is written in a way that is not read")
    return Data(made, tuple(sizes[c] for c in sides.out[1:]))


def _read(net: Net, equation: str, operands: Sequence[Data | Constant]) -> _Sides:
    """The equation with letters for its ellipses."""
    text = equation.replace(" ", "")
    left, arrow, out = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise net.error(f"has {len(operands)} inputs for '{equation}'")
    ranks = [len(v.shape) + 1 if isinstance(v, Data) else v.array.ndim for v in operands]
    spare = [c for c in _SPARE if c not in text]
    hidden = [
        r - len(t.replace("...", "")) if "..." in t else 0
        for t, r in zip(terms, ranks, strict=True)
    ]
    if min(hidden) < 0 or max(hidden) > len(spare):
        raise net.error(f"does not fit '{equation}'")
    letters = "".join(spare[: max(hidden)])
    terms = [
        t.replace("...", letters[len(letters) - h :]) for t, h in zip(terms, hidden, strict=True)
    ]
    joined = "".join(terms)
    once = sorted(c for c in set(joined) if joined.count(c) == 1 and c not in letters)
    out = out.replace("...", letters) if arrow else letters + "".join(once)
    sizes: dict[str, int] = {}
    for term, value, rank in zip(terms, operands, ranks, strict=True):
        shape = (net.batch, *value.shape) if isinstance(value, Data) else value.array.shape
        if len(term) != rank or not set(out) <= set(joined):
            raise net.error(f"does not fit '{equation}'")
        if len(set(term)) < len(term) or len(set(out)) < len(out):
            raise Blocked("it takes the diagonal of a value")
        for letter, size in zip(term, shape, strict=True):
            if sizes.setdefault(letter, size) != size and letter != terms[0][0]:
                raise net.error(f"gives '{letter}' two sizes")
    first = next(i for i, v in enumerate(operands) if isinstance(v, Data))
    return _Sides(terms[first], "".join(t for i, t in enumerate(terms) if i != first), out)


def _reduced(net: Net, x: Data, sides: _Sides) -> tuple[Data, _Sides]:
    """The data summed over the axes that nothing else has."""
    axes = sides.summed()
    if not axes:
        return x, sides
    count = prod(x.shape[i - 1] for i in axes)
    x = net.emit("mean", x, part="mean", dims=axes, keepdim=False)
    x = net.emit("scale", x, net.made(np.full((1,) * (len(x.shape) + 1), count), "count"))
    letters = "".join(c for i, c in enumerate(sides.data) if i not in axes)
    return x, _Sides(letters, sides.fixed, sides.out)


def _multiplied(net: Net, x: Data, sides: _Sides, factor: Tensor) -> tuple[Data, _Sides]:
    """The data as matrices (for each shared axis that stays: rows, summed) times the constant."""
    inside, fixed, out = sides.data[1:], sides.fixed, sides.out
    stack = [c for c in inside if c in fixed and c in out]
    rows = [c for c in inside if c not in fixed]
    summed = [c for c in inside if c in fixed and c not in out]
    columns = [c for c in fixed if c not in inside]
    sizes = dict(zip(inside, x.shape, strict=True)) | dict(zip(fixed, factor.shape, strict=True))

    def size(letters: Sequence[str]) -> int:
        return prod(sizes[c] for c in letters)

    x = net.permute(x, [0, *(sides.data.index(c) for c in (*stack, *rows, *summed))], part="turned")
    matrices = factor.permute([fixed.index(c) for c in (*stack, *summed, *columns)])
    shape = [*([size(stack)] if stack else []), size(rows), size(summed)]
    matrices = matrices.reshape(*shape[:-2], size(summed), size(columns)).contiguous()
    flat = net.reshape(x, (net.batch, *shape), part="flat")
    net.builder.layer = net.label
    name = product(net.builder, flat.name, shape, matrices)
    letters = (*stack, *rows, *columns)
    made = Data(name, (*shape[:-1], size(columns)))
    opened = net.reshape(made, (net.batch, *(sizes[c] for c in letters)), part="opened")
    return opened, _Sides(sides.data[0] + "".join(letters), "", out)
