"""Puts together what is a rectifier of one value, however it was written in pieces.

Comparisons, choices, absolute values, signs, bounds, factors and sums of one value x make a
function of x that is straight between a few corners. Where that function is

    x                  nothing          g * max(x, 0)             relu, behind it a factor
    min(max(x, 0), c)  clip             x above 0, s x below      leaky_relu

the pieces are replaced by it, exactly. An absolute value that stands alone becomes two rectifiers:
|x| = relu(x) + relu(-x).
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from convsnn.graph import Graph, Node
from convsnn.passes.bent import Bent, Line, joined
from convsnn.passes.edit import rebuild

_PIECES = ("abs", "sign", "compare", "select", "product", "maximum", "clamp")
_ENDS = (*_PIECES, "add", "sub", "relu", "clip", "scale")
_CORNERS = 16  # more make no activation that is known
_CLOSE = 1e-6


def _number(value: Tensor) -> float | None:
    if value.is_meta:
        return None
    first = value.flatten()[:1]
    return float(first) if value.numel() and bool((value == first).all()) else None


@dataclass(frozen=True)
class _Reader:
    """Reads values of a graph as functions of one of them, `source`."""

    graph: Graph
    source: str

    def of(self, name: str, depth: int = 24) -> Bent | None:
        """The value `name` as a function of the source; None where it is none."""
        graph = self.graph
        if name == self.source:
            return Bent((), (Line(1.0, 0.0),))
        if name in graph.tensors:
            number = _number(graph.tensors[name])
            return None if number is None else Bent((), (Line(0.0, number),))
        node = graph.by_name[name]
        if depth == 0 or graph.shapes[name] != graph.shapes[self.source]:
            return None
        if node.op not in ("identity", "add_constant", *_ENDS):
            return None
        parts = [self.of(i, depth - 1) for i in node.inputs]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts) or sum(len(part.corners) for part in known) > _CORNERS:
            return None
        made = joined(node, known)
        return None if made is None else made.plain()


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= _CLOSE * max(1.0, abs(a), abs(b))


def _is(line: Line, slope: float, offset: float = 0.0) -> bool:
    return _close(line.slope, slope) and _close(line.offset, offset)


def _replacement(graph: Graph, end: Node, source: str, f: Bent) -> Graph | None:
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
    if (
        _close(gain, 1)
        and lines[0].slope > 0
        and _is(lines[0], lines[0].slope)
        and number not in graph.tensors
    ):
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
    while (changed := _once(graph)) is not None:
        graph = changed
    for node in graph.nodes:
        if node.op == "abs":
            graph = _two_rectifiers(graph, node)
    return graph
