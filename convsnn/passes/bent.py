"""Functions of one number that are straight between corners, and what ops make of them."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from convsnn.graph import Node


@dataclass(frozen=True)
class Line:
    """slope * x + offset."""

    slope: float
    offset: float

    def at(self, x: float) -> float:
        """Its value at x."""
        return self.slope * x + self.offset


@dataclass(frozen=True)
class Bent:
    """A function of one number, straight between corners: one line more than there are corners."""

    corners: tuple[float, ...]
    lines: tuple[Line, ...]

    def middles(self) -> Iterator[float]:
        """A place inside each line's interval."""
        ends = (-math.inf, *self.corners, math.inf)
        for low, high in pairwise(ends):
            if math.isinf(low):
                yield 0.0 if math.isinf(high) else high - 1.0
            else:
                yield low + 1.0 if math.isinf(high) else (low + high) / 2

    def with_corners(self, more: Sequence[float]) -> "Bent":
        """The same function with lines cut at further corners."""
        corners = tuple(sorted({*self.corners, *more}))
        places = Bent(corners, (Line(0, 0),) * (len(corners) + 1)).middles()
        return Bent(corners, tuple(self.lines[sum(c < x for c in self.corners)] for x in places))

    def crossing(self, value: float) -> list[float]:
        """Where the function takes `value` inside a line's interval."""
        found = []
        ends = (-math.inf, *self.corners, math.inf)
        for line, low, high in zip(self.lines, ends, ends[1:], strict=False):
            if line.slope:
                x = (value - line.offset) / line.slope
                if low < x < high:
                    found.append(x)
        return found

    def plain(self) -> "Bent":
        """Without corners between lines that are the same."""
        corners: list[float] = []
        lines = [self.lines[0]]
        for corner, line in zip(self.corners, self.lines[1:], strict=True):
            if line != lines[-1]:
                corners.append(corner)
                lines.append(line)
        return Bent(tuple(corners), tuple(lines))


_Pick = Callable[[float, Line], Line]


def _bend(f: Bent, values: Sequence[float], pick: _Pick) -> Bent:
    """f cut where it takes one of `values`, each line replaced by what `pick` makes of it."""
    cut = f.with_corners([x for value in values for x in f.crossing(value)])
    lines = (pick(line.at(x), line) for x, line in zip(cut.middles(), cut.lines, strict=True))
    return Bent(cut.corners, tuple(lines))


def _pair(f: Bent, g: Bent) -> list[tuple[Bent, Bent]]:
    return [(f.with_corners(g.corners), g.with_corners(f.corners))]


def _sum(f: Bent, g: Bent, sign: int) -> Bent:
    ((f, g),) = _pair(f, g)
    lines = (
        Line(a.slope + sign * b.slope, a.offset + sign * b.offset)
        for a, b in zip(f.lines, g.lines, strict=True)
    )
    return Bent(f.corners, tuple(lines))


def _product(f: Bent, g: Bent) -> Bent | None:
    ((f, g),) = _pair(f, g)
    lines = []
    for a, b in zip(f.lines, g.lines, strict=True):
        if a.slope and b.slope:
            return None
        line, number = (a, b.offset) if a.slope else (b, a.offset)
        lines.append(Line(line.slope * number, line.offset * number))
    return Bent(f.corners, tuple(lines))


def _larger(f: Bent, g: Bent) -> Bent:
    more = _sum(f, g, -1).crossing(0.0)
    f, g = f.with_corners([*g.corners, *more]), g.with_corners([*f.corners, *more])
    lines = (
        a if a.at(x) >= b.at(x) else b
        for x, a, b in zip(f.middles(), f.lines, g.lines, strict=True)
    )
    return Bent(f.corners, tuple(lines))


def _chosen(mask: Bent, f: Bent, g: Bent) -> Bent:
    corners = (*mask.corners, *f.corners, *g.corners)
    mask, f, g = (h.with_corners(corners) for h in (mask, f, g))
    lines = (
        a if m.at(x) else b
        for x, m, a, b in zip(mask.middles(), mask.lines, f.lines, g.lines, strict=True)
    )
    return Bent(mask.corners, tuple(lines))


_RELATIONS: dict[str, Callable[[float, float], bool]] = {
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a > b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a < b,
}


def _bounded(f: Bent, low: float | None, high: float | None) -> Bent:
    bounds = [b for b in (low, high) if b is not None]

    def pick(value: float, line: Line) -> Line:
        if low is not None and value < low:
            return Line(0.0, low)
        return Line(0.0, high) if high is not None and value > high else line

    return _bend(f, bounds, pick)


def _unary(node: Node, f: Bent) -> Bent | None:
    if node.op == "abs":
        return _bend(f, [0], lambda v, n: n if v > 0 else Line(-n.slope, -n.offset))
    if node.op == "sign":
        return _bend(f, [0], lambda v, _: Line(0.0, float((v > 0) - (v < 0))))
    if node.op == "compare":
        holds, bound = _RELATIONS[node.attrs["relation"]], node.attrs["bound"]
        return _bend(f, [bound], lambda v, _: Line(0.0, float(holds(v, bound))))
    if node.op in ("relu", "clip"):
        return _bounded(f, 0.0, node.attrs.get("ceiling"))
    if node.op == "clamp":
        return _bounded(f, node.attrs["low"], node.attrs["high"])
    return f if node.op == "identity" else None


def joined(node: Node, parts: Sequence[Bent]) -> Bent | None:
    """The function that `node` makes of those of its inputs; None where it is none of these."""
    if node.op in ("add", "add_constant", "sub"):
        return _sum(parts[0], parts[1], -1 if node.op == "sub" else 1)
    if node.op in ("product", "scale"):
        return _product(*parts)
    if node.op == "maximum":
        return _larger(*parts)
    if node.op == "select":
        return _chosen(*parts)
    return _unary(node, *parts)
