"""Puts activations together that were written in pieces, exactly; loaders run it at their end.

    x * (x > 0), where(x > 0, x, 0)          relu
    where(x > 0, x, s x), max(x, s x)        leaky_relu (for max: 0 <= s <= 1)
    min(relu(x), c), relu(min(x, c))         clip
    x + (round(x) - x)                       round(x): how a gradient is led around a rounding

what `rectifiers` finds in chains of choices and absolute values, and clip-floor activations, for
which see `clip_floor`. What stays a piece blocks the conversion.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from convsnn.errors import LoadError
from convsnn.graph import Graph, Node
from convsnn.passes.clip_floor import fold_clip_floor
from convsnn.passes.edit import rebuild
from convsnn.passes.rectifiers import join_rectifiers

_PIECES = ("rounding", "clamp", "compare", "select", "product", "maximum", "abs", "sign")
_AFFIRMS = ("gt", "ge")


def _made(graph: Graph, name: str, op: str) -> Node | None:
    """The node `name` if it is an `op`."""
    node = graph.by_name.get(name)
    return node if node is not None and node.op == op else None


def _slope(graph: Graph, name: str, x: str) -> str | None:
    """The factor s where the value `name` is s * x of the same shape."""
    node = _made(graph, name, "scale")
    if node is None or node.inputs[0] != x:
        return None
    rank = graph.tensors[node.inputs[1]].dim()
    sizes = graph.tensors[node.inputs[1]].shape[1:]
    shape = graph.shapes[x]
    fits = rank == len(shape) + 1 and all(a in (1, b) for a, b in zip(sizes, shape, strict=True))
    return node.inputs[1] if fits else None


def _leaky(node: Node, x: str, slope: str) -> Node:
    return replace(node, op="leaky_relu", inputs=(x, slope), attrs={})


def _relu(node: Node, x: str) -> Node:
    return replace(node, op="relu", inputs=(x,), attrs={})


def _product(graph: Graph, node: Node) -> Node | None:
    for x, name in (node.inputs, node.inputs[::-1]):
        mask = _made(graph, name, "compare")
        if mask and mask.inputs == (x,) and mask.attrs["bound"] == 0:
            return _relu(node, x) if mask.attrs["relation"] in _AFFIRMS else None
    return None


def _select(graph: Graph, node: Node) -> Node | None:
    mask = _made(graph, node.inputs[0], "compare")
    if mask is None or mask.attrs["bound"] != 0:
        return None
    x, (above, below) = mask.inputs[0], node.inputs[1:]
    if mask.attrs["relation"] not in _AFFIRMS:
        above, below = below, above
    if above != x:
        return None
    if below in graph.tensors:
        same = graph.shapes[node.name] == graph.shapes[x]
        return _relu(node, x) if same and not bool(graph.tensors[below].any()) else None
    slope = _slope(graph, below, x)
    return _leaky(node, x, slope) if slope else None


def _maximum(graph: Graph, node: Node) -> Node | None:
    for x, scaled in (node.inputs, node.inputs[::-1]):
        slope = _slope(graph, scaled, x)
        if slope and bool(((graph.tensors[slope] >= 0) & (graph.tensors[slope] <= 1)).all()):
            return _leaky(node, x, slope)
    return None


def _clamp(graph: Graph, node: Node) -> Node | None:
    """min(relu(x), c) at the node of the minimum."""
    high = node.attrs["high"]
    inner = graph.by_name[node.inputs[0]]
    if high is None or high <= 0 or (node.attrs["low"] or 0.0) > 0:
        return None
    if inner.op not in ("relu", "clip"):
        return None
    ceiling = min(high, inner.attrs.get("ceiling", high))
    return replace(node, op="clip", inputs=inner.inputs, attrs={"ceiling": float(ceiling)})


def _relu_of_minimum(graph: Graph, node: Node) -> Node | None:
    """relu(min(x, c)) at the node of the relu."""
    inner = _made(graph, node.inputs[0], "clamp")
    if inner is None or inner.attrs["high"] is None or inner.attrs["high"] <= 0:
        return None
    if (inner.attrs["low"] or 0.0) > 0:
        return None
    return replace(
        node, op="clip", inputs=inner.inputs, attrs={"ceiling": float(inner.attrs["high"])}
    )


def _around(graph: Graph, node: Node) -> Node | None:
    """The rounding r of x where `node` is x + (r - x) or x - (x - r)."""
    sums = [node.inputs, node.inputs[::-1]] if node.op == "add" else [node.inputs]
    for x, name in sums:
        difference = _made(graph, name, "sub")
        if difference is None:
            continue
        left, right = difference.inputs if node.op == "add" else difference.inputs[::-1]
        rounded = _made(graph, left, "rounding")
        if right == x and rounded and rounded.inputs == (x,):
            return rounded
    return None


_RULES: Mapping[str, Callable[[Graph, Node], Node | None]] = {
    "product": _product,
    "select": _select,
    "maximum": _maximum,
    "clamp": _clamp,
    "relu": _relu_of_minimum,
}


def _join_one(graph: Graph) -> Graph | None:
    for node in graph.nodes:
        if node.op in ("add", "sub"):
            rounded = _around(graph, node)
            if rounded is not None:
                whole = replace(rounded, name=node.name)
                return rebuild(graph, changed={node.name: (whole,)})
        found = _RULES[node.op](graph, node) if node.op in _RULES else None
        if found is not None:
            return rebuild(graph, changed={node.name: (found,)})
    return None


def join_pieces(graph: Graph) -> Graph:
    """Join every activation that is written in pieces."""
    if not any(node.op in _PIECES for node in graph.nodes):
        return graph
    try:
        _ = graph.shapes
    except LoadError:  # behind what is refused, shapes may be unknown; the refusal says more
        return graph
    while (joined := _join_one(graph)) is not None:
        graph = joined
    return fold_clip_floor(join_rectifiers(graph))
