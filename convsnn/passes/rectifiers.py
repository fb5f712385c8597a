"""Puts together what is a rectifier of one value, however it was written in pieces.

Comparisons, choices, absolute values, signs, bounds, factors and sums of one value x make a
function of x that is straight between a few corners. Where that function is

    x                  nothing          g * max(x, 0)             relu, behind it a factor
    min(max(x, 0), c)  clip             x above 0, s x below      leaky_relu

the pieces are replaced by it, exactly. An absolute value that stands alone becomes two rectifiers:
|x| = relu(x) + relu(-x).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from convsnn.graph import Graph, Node
from convsnn.passes.edit import rebuild

_PIECES = ("abs", "sign", "compare", "select", "product", "maximum", "clamp")
_ENDS = (*_PIECES, "add", "sub", "relu", "clip", "scale")
_CORNERS = 16  # more make no activation that is known
_CLOSE = 1e-6


@dataclass(frozen=True)
class _Line:
    """slope * x + offset."""

    slope: float
    offset: float

    def at(self, x: float) -> float:
        return self.slope * x + self.offset


@dataclass(frozen=True)
class _Bent:
    """A function of one number, straight between corners: one line more than there are corners."""

    corners: tuple[float, ...]
    lines: tuple[_Line, ...]

    def middles(self) -> Iterator[float]:
        """A place inside each line's interval."""
        ends = (-math.inf, *self.corners, math.inf)
        for low, high in zip(ends, ends[1:], strict=False):
            if math.isinf(low):
                yield 0.0 if math.isinf(high) else high - 1.0
            else:
                yield low + 1.0 if math.isinf(high) else (low + high) / 2

    def with_corners(self, more: Sequence[float]) -> "_Bent":
        """The same function with lines cut at further corners."""
        corners = tuple(sorted({*self.corners, *more}))
        places = _Bent(corners, (_Line(0, 0),) * (len(corners) + 1)).middles()
        return _Bent(corners, tuple(self.lines[sum(c < x for c in self.corners)] for x in places))

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

    def plain(self) -> "_Bent":
        """Without corners between lines that are the same."""
        corners: list[float] = []
        lines = [self.lines[0]]
        for corner, line in zip(self.corners, self.lines[1:], strict=True):
            if line != lines[-1]:
                corners.append(corner)
                lines.append(line)
        return _Bent(tuple(corners), tuple(lines))


_Pick = Callable[[float, _Line], _Line]


def _bend(f: _Bent, values: Sequence[float], pick: _Pick) -> _Bent:
    """f cut where it takes one of `values`, each line replaced by what `pick` makes of it."""
    cut = f.with_corners([x for value in values for x in f.crossing(value)])
    lines = (pick(line.at(x), line) for x, line in zip(cut.middles(), cut.lines, strict=True))
    return _Bent(cut.corners, tuple(lines))


def _pair(f: _Bent, g: _Bent) -> list[tuple[_Bent, _Bent]]:
    return [(f.with_corners(g.corners), g.with_corners(f.corners))]


def _sum(f: _Bent, g: _Bent, sign: int) -> _Bent:
    ((f, g),) = _pair(f, g)
    lines = (
        _Line(a.slope + sign * b.slope, a.offset + sign * b.offset)
        for a, b in zip(f.lines, g.lines, strict=True)
    )
    return _Bent(f.corners, tuple(lines))


def _product(f: _Bent, g: _Bent) -> _Bent | None:
    ((f, g),) = _pair(f, g)
    lines = []
    for a, b in zip(f.lines, g.lines, strict=True):
        if a.slope and b.slope:
            return None
        line, number = (a, b.offset) if a.slope else (b, a.offset)
        lines.append(_Line(line.slope * number, line.offset * number))
    return _Bent(f.corners, tuple(lines))


def _larger(f: _Bent, g: _Bent) -> _Bent:
    more = _sum(f, g, -1).crossing(0.0)
    f, g = f.with_corners([*g.corners, *more]), g.with_corners([*f.corners, *more])
    lines = (
        a if a.at(x) >= b.at(x) else b
        for x, a, b in zip(f.middles(), f.lines, g.lines, strict=True)
    )
    return _Bent(f.corners, tuple(lines))


def _chosen(mask: _Bent, f: _Bent, g: _Bent) -> _Bent:
    corners = (*mask.corners, *f.corners, *g.corners)
    mask, f, g = (h.with_corners(corners) for h in (mask, f, g))
    lines = (
        a if m.at(x) else b
        for x, m, a, b in zip(mask.middles(), mask.lines, f.lines, g.lines, strict=True)
    )
    return _Bent(mask.corners, tuple(lines))


_RELATIONS: dict[str, Callable[[float, float], bool]] = {
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a > b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a < b,
}


def _bounded(f: _Bent, low: float | None, high: float | None) -> _Bent:
    bounds = [b for b in (low, high) if b is not None]

    def pick(value: float, line: _Line) -> _Line:
        if low is not None and value < low:
            return _Line(0.0, low)
        return _Line(0.0, high) if high is not None and value > high else line

    return _bend(f, bounds, pick)


def _unary(node: Node, f: _Bent) -> _Bent | None:
    if node.op == "abs":
        return _bend(f, [0], lambda v, n: n if v > 0 else _Line(-n.slope, -n.offset))
    if node.op == "sign":
        return _bend(f, [0], lambda v, n: _Line(0.0, float((v > 0) - (v < 0))))
    if node.op == "compare":
        holds, bound = _RELATIONS[node.attrs["relation"]], node.attrs["bound"]
        return _bend(f, [bound], lambda v, n: _Line(0.0, float(holds(v, bound))))
    if node.op in ("relu", "clip"):
        return _bounded(f, 0.0, node.attrs.get("ceiling"))
    if node.op == "clamp":
        return _bounded(f, node.attrs["low"], node.attrs["high"])
    return f if node.op == "identity" else None


def _number(value: Tensor) -> float | None:
    first = value.flatten()[:1]
    return float(first) if value.numel() and bool((value == first).all()) else None


@dataclass(frozen=True)
class _Reader:
    """Reads values of a graph as functions of one of them, `source`."""

    graph: Graph
    source: str

    def of(self, name: str, depth: int = 24) -> _Bent | None:
        """The value `name` as a function of the source; None where it is none."""
        graph = self.graph
        if name == self.source:
            return _Bent((), (_Line(1.0, 0.0),))
        if name in graph.tensors:
            number = _number(graph.tensors[name])
            return None if number is None else _Bent((), (_Line(0.0, number),))
        node = graph.by_name[name]
        if depth == 0 or graph.shapes[name] != graph.shapes[self.source]:
            return None
        if node.op not in ("identity", "add_constant", *_ENDS):
            return None
        parts = [self.of(i, depth - 1) for i in node.inputs]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts) or sum(len(part.corners) for part in known) > _CORNERS:
            return None
        made = _joined(node, known)
        return None if made is None else made.plain()


def _joined(node: Node, parts: Sequence[_Bent]) -> _Bent | None:
    if node.op in ("add", "add_constant", "sub"):
        return _sum(*parts, sign=-1 if node.op == "sub" else 1)
    if node.op in ("product", "scale"):
        return _product(*parts)
    if node.op == "maximum":
        return _larger(*parts)
    if node.op == "select":
        return _chosen(*parts)
    return _unary(node, *parts)


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= _CLOSE * max(1.0, abs(a), abs(b))


def _is(line: _Line, slope: float, offset: float = 0.0) -> bool:
    return _close(line.slope, slope) and _close(line.offset, offset)


def _replacement(graph: Graph, end: Node, source: str, f: _Bent) -> Graph | None:
    """The graph with the function `f` of `source` in place of node `end`, if it is known."""
    lines, gain = f.lines, f.lines[-1].slope
    rank = len(graph.shapes[source]) + 1
    number = f"{end.name}.number"
    if not f.corners:
        if not _is(lines[0], 1.0):
            return None
        if end.name in graph.outputs:
            same = Node(end.name, "identity", (source,), {}, end.source)
            return rebuild(graph, changed={end.name: (same,)})
        return rebuild(graph, changed={end.name: ()}, rewired={end.name: source})
    if not _close(f.corners[0], 0.0):
        return None
    if len(lines) == 3 and _is(lines[0], 0) and _is(lines[1], 1) and f.corners[1] > 0:
        if not _is(lines[2], 0, f.corners[1]):
            return None
        attrs = {"ceiling": f.corners[1]}
        return rebuild(graph, changed={end.name: (_put(end, "clip", source, **attrs),)})
    if len(lines) != 2 or gain <= 0 or not _is(lines[1], gain):
        return None
    if _is(lines[0], 0) and _close(gain, 1):
        return rebuild(graph, changed={end.name: (_put(end, "relu", source),)})
    tensors = {number: torch.full((1,) * rank, gain)}
    if _is(lines[0], 0):
        first = Node(f"{end.name}.relu", "relu", (source,), {}, end.source)
        made = (first, _put(end, "scale", first.name, number))
        taken = first.name in graph.by_name or number in graph.tensors
        return None if taken else rebuild(graph, changed={end.name: made}, tensors=tensors)
    if _close(gain, 1) and _is(lines[0], lines[0].slope) and number not in graph.tensors:
        tensors = {number: torch.full((1,) * rank, lines[0].slope)}
        leaky = _put(end, "leaky_relu", source, number)
        return rebuild(graph, changed={end.name: (leaky,)}, tensors=tensors)
    return None


def _put(end: Node, op: str, *inputs: str, **attrs: float) -> Node:
    return replace(end, op=op, inputs=inputs, attrs=attrs)


def _sources(graph: Graph, end: Node) -> list[str]:
    """Values that `end` may be a function of, the deepest first; pieces lie behind each."""
    seen: dict[str, None] = {}
    waiting = [(end.name, 0)]
    while waiting:
        name, depth = waiting.pop(0)
        node = graph.by_name[name]
        if depth < 24 and node.op in ("identity", "add_constant", *_ENDS):
            for inner in graph.data_inputs(node):
                if inner not in seen:
                    waiting.append((inner, depth + 1))
                seen.pop(inner, None)
                seen[inner] = None
    return list(reversed(seen))


def _holds_piece(graph: Graph, end: Node, source: str) -> bool:
    waiting, seen = [end.name], {source}
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        node = graph.by_name[name]
        if node.op in _PIECES:
            return True
        waiting.extend(graph.data_inputs(node))
    return False


def _once(graph: Graph) -> Graph | None:
    for end in reversed(graph.nodes):
        if end.op not in _ENDS:
            continue
        for source in _sources(graph, end):
            if not _holds_piece(graph, end, source):
                continue
            found = _Reader(graph, source).of(end.name)
            made = None if found is None else _replacement(graph, end, source, found)
            if made is not None:
                return made
    return None


def _two_rectifiers(graph: Graph, node: Node) -> Graph:
    """|x| as relu(x) + relu(-x)."""
    x, rank = node.inputs[0], len(graph.shapes[node.name]) + 1
    minus, above, below = (f"{node.name}.{part}" for part in ("minus", "above", "below"))
    number = f"{node.name}.factor"
    new = (
        Node(above, "relu", (x,), {}, node.source),
        Node(minus, "scale", (x, number), {}, node.source),
        Node(below, "relu", (minus,), {}, node.source),
        Node(node.name, "add", (above, below), {}, node.source),
    )
    if {minus, above, below, number} & {*graph.by_name, *graph.tensors}:
        return graph
    tensors = {number: torch.full((1,) * rank, -1.0)}
    return rebuild(graph, changed={node.name: new}, tensors=tensors)


def join_rectifiers(graph: Graph) -> Graph:
    """Join every rectifier of one value; write the absolute values that are left as two."""
    if not any(node.op in _PIECES for node in graph.nodes):
        return graph
    while (joined := _once(graph)) is not None:
        graph = joined
    for node in graph.nodes:
        if node.op == "abs":
            graph = _two_rectifiers(graph, node)
    return graph
