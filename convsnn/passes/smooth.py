"""Settles what smooth parts of a network are, once all of it is read; loaders run it at their end.

    softmax, sigmoid in the middle     functions; at the very end they stay readouts
    pieces of no neuron                functions: bounds, absolute values, maxima of two values
    a * b                              a function where both are made of one value without weights
                                       between (x sigmoid(x)), else a product

What chooses by the data (comparisons, choices, roundings) stays a piece, and blocks.
"""

from collections.abc import Mapping
from dataclasses import replace

from convsnn.graph import Graph, Node
from convsnn.graph.ops import Role

_INSIDE = {
    "softmax": "softmax_inside",
    "log_softmax": "log_softmax_inside",
    "sigmoid": "sigmoid_inside",
}
_LAYERS = (Role.ACTIVATION, Role.MAX_POOL, Role.BLOCKED, Role.FUNCTION, Role.PRODUCT)
_THROUGH = ("scale", "add_constant", "mean", "identity")  # keep every element in its place


def settle_smooth(graph: Graph) -> Graph:
    """The graph with readouts that are none, pieces of no neuron and products as what they are."""
    nodes = _without_pieces(graph)
    nodes = _without_inner_readouts(nodes)
    known = {node.name: node for node in nodes}
    nodes = [_settled(node, known) for node in nodes]
    return replace(graph, nodes=tuple(nodes)) if tuple(nodes) != graph.nodes else graph


def _without_pieces(graph: Graph) -> list[Node]:
    """Pieces that no neuron was made of; those that only outputs read are decisions, no pieces."""
    nodes = []
    for node in graph.nodes:
        if node.op == "clamp":
            bounds = {key: node.attrs[key] for key in ("low", "high")}
            node = replace(node, op="bound", attrs=bounds)
        elif node.op == "abs":
            node = replace(node, op="elementary", attrs={"kind": "abs"})
        elif node.op == "maximum":
            node = replace(node, op="larger", attrs={})
        nodes.append(node)
    return nodes


def _without_inner_readouts(nodes: list[Node]) -> list[Node]:
    """Softmax and sigmoid that layers read are functions; read from the end backwards."""
    read_by_layers: set[str] = set()
    settled = []
    for node in reversed(nodes):
        inner = node.name in read_by_layers
        if inner and node.op in _INSIDE:
            node = replace(node, op=_INSIDE[node.op])
        if inner or node.role in _LAYERS:
            read_by_layers.update(node.inputs)
        settled.append(node)
    return settled[::-1]


def _settled(node: Node, known: Mapping[str, Node]) -> Node:
    if node.op != "multiply":
        return node
    found = {origin for name in node.inputs for origin in _origins(name, known)}
    return replace(node, op="modulate") if len(found) == 1 else node


def _origins(name: str, known: Mapping[str, Node]) -> set[str]:
    """The values that `name` is made of by functions that stay in place."""
    found, waiting, seen = set(), [name], set[str]()
    while waiting:
        node = known.get(waiting.pop())
        if node is None or node.name in seen:  # a constant, or known already
            continue
        seen.add(node.name)
        if node.op in _THROUGH or node.role is Role.FUNCTION or node.op == "multiply":
            waiting += node.inputs
        else:
            found.add(node.name)
    return found
