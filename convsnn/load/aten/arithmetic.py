"""Sums, differences, and products with constants."""

from typing import Any

from convsnn.load.aten.base import Blocked, Constant, Data, Lowering, aten
from convsnn.load.aten.parts import finite, product_of


def _sum(lowering: Lowering, left: Any, right: Any, sign: int, alpha: Any) -> str:
    rank = len(lowering.shape) + 1
    if not isinstance(right, Data):
        factor = sign * alpha
        name = lowering.beside(finite(_times(right, factor)), "constant", rank)
        return lowering.builder.emit("add_constant", left.name, name)
    if alpha != 1:
        factor = lowering.beside(float(alpha), "factor", len(right.shape) + 1)
        right = Data(lowering.builder.emit("scale", right.name, factor), right.shape)
    if not isinstance(left, Data):
        if sign < 0:
            minus = lowering.beside(-1.0, "factor", rank)
            right = Data(lowering.builder.emit("scale", right.name, minus), right.shape)
        name = lowering.beside(finite(left), "constant", rank)
        return lowering.builder.emit("add_constant", right.name, name)
    return lowering.builder.emit("add" if sign > 0 else "sub", left.name, right.name)


def _times(value: Any, factor: Any) -> Any:
    if isinstance(value, Constant):
        return value if factor == 1 else Constant(value.value * factor, f"{value.name}.scaled")
    return value * factor


@aten("add")
def add(lowering: Lowering, *, other: Any, alpha: Any = 1, **arguments: Any) -> str:
    """Sum of data values, or of data and a constant."""
    return _sum(lowering, arguments["self"], other, 1, alpha)


@aten("sub")
def sub(lowering: Lowering, *, other: Any, alpha: Any = 1, **arguments: Any) -> str:
    """Difference of data values, or of data and a constant."""
    return _sum(lowering, arguments["self"], other, -1, alpha)


@aten("rsub")
def rsub(lowering: Lowering, *, other: Any, alpha: Any = 1, **arguments: Any) -> str:
    """other - self."""
    return _sum(lowering, other, arguments["self"], -1, alpha)


@aten("mul")
def mul(lowering: Lowering, *, other: Any, **arguments: Any) -> str:
    """Product with a constant, or of two values."""
    left = arguments["self"]
    if isinstance(left, Data) and isinstance(other, Data):
        made = lowering.builder
        if left.name == other.name:
            return made.emit("power", left.name, exponent=2.0)
        known = ("compare", "sign")
        if not any(made.is_op(value.name, op) for value in (left, other) for op in known):
            return product_of(lowering, left, other)
        return made.piece("product", left.name, other.name, kind="mul")
    x, factor = (left, other) if isinstance(left, Data) else (other, left)
    name = lowering.beside(factor, "factor", len(lowering.shape) + 1)
    return lowering.builder.emit("scale", x.name, name)


@aten("div")
def div(lowering: Lowering, *, other: Any, rounding_mode: Any = None, **arguments: Any) -> str:
    """Division by a constant, or of two values."""
    x = arguments["self"]
    if rounding_mode is not None:
        raise Blocked("a division that rounds is not linear")
    if isinstance(other, Data):
        if isinstance(x, Data):
            return product_of(lowering, x, other, "quotient")
        inverse = lowering.builder.emit("power", other.name, exponent=-1.0)
        factor = lowering.beside(x, "factor", len(lowering.shape) + 1)
        return lowering.builder.emit("scale", inverse, factor)
    share: Any = (
        Constant(1 / other.value, f"{other.name}.inverse")
        if isinstance(other, Constant)
        else 1 / other
    )
    name = lowering.beside(share, "factor", len(lowering.shape) + 1)
    return lowering.builder.emit("scale", x.name, name)


@aten("neg")
def neg(lowering: Lowering, **arguments: Any) -> str:
    """-x."""
    name = lowering.beside(-1.0, "factor", len(lowering.shape) + 1)
    return lowering.builder.emit("scale", arguments["self"].name, name)
