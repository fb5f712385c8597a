"""The few edits every pass is written in: replace nodes, rewire readers, drop what is unused."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from convsnn.graph import Graph, Node
from convsnn.graph.ops import Role


def rebuild(
    graph: Graph,
    *,
    changed: Mapping[str, tuple[Node, ...]] | None = None,
    rewired: Mapping[str, str] | None = None,
    tensors: Mapping[str, Tensor] | None = None,
) -> Graph:
    """A graph with nodes replaced in place, readers of `rewired` names pointed elsewhere.

    `tensors` are added; nodes and tensors that no output needs any more are dropped.
    """
    changed, rewired = changed or {}, rewired or {}

    def target(name: str) -> str:
        while name in rewired:
            name = rewired[name]
        return name

    nodes = [new for node in graph.nodes for new in changed.get(node.name, (node,))]
    nodes = [replace(n, inputs=tuple(target(i) for i in n.inputs)) for n in nodes]
    outputs = tuple(target(name) for name in graph.outputs)
    needed = set(outputs)
    for node in reversed(nodes):
        if node.name in needed:
            needed.update(node.inputs)
    kept = tuple(n for n in nodes if n.name in needed or n.role is Role.INPUT)
    everything = {**graph.tensors, **(tensors or {})}
    return Graph(kept, {k: v for k, v in everything.items() if k in needed}, outputs)


def only_reader(graph: Graph, node: Node) -> Node | None:
    """The single node that reads `node`, unless it is an output or is read elsewhere too."""
    readers = graph.consumers[node.name]
    if node.name in graph.outputs or len(readers) != 1:
        return None
    return readers[0] if readers[0].inputs.count(node.name) == 1 else None
