"""Removes what does nothing: identities, reshapes to the same shape, permutes in order."""

from convsnn.graph import Graph, Node
from convsnn.passes.edit import rebuild


def _does_nothing(graph: Graph, node: Node) -> bool:
    if node.op == "identity":
        return True
    if node.op == "reshape":
        return graph.shapes[node.name] == graph.shapes[node.inputs[0]]
    if node.op == "permute":
        dims: list[int] = list(node.attrs["dims"])
        return dims == sorted(dims)
    if node.op == "pad":
        return not any(node.attrs["pads"])
    if node.op == "concat":
        return len(node.inputs) == 1
    return False


def remove_identities(graph: Graph) -> Graph:
    """Point the readers of every node that does nothing to its input."""
    idle = {n.name: n.inputs[0] for n in graph.nodes if _does_nothing(graph, n)}
    # Two outputs may not become one node, and a graph's output keeps its own name.
    idle = {name: source for name, source in idle.items() if name not in graph.outputs}
    return rebuild(graph, rewired=idle) if idle else graph
