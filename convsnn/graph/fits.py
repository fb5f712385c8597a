"""Which nodes of a graph stand for functions that were fitted (`convsnn.graph.ops.fitted`)."""

from collections.abc import Mapping
from dataclasses import replace

from convsnn.graph.form import Graph
from convsnn.graph.node import Node
from convsnn.graph.ops.fitted import FITTED


def fitted_nodes(graph: Graph) -> tuple[Node, ...]:
    """The functions that were fitted, in the order they are run."""
    return tuple(node for node in graph.nodes if node.op == FITTED)


def parts_of_fits(graph: Graph) -> Mapping[str, str]:
    """For each node between a fitted function and its input the name of the function."""
    found: dict[str, str] = {}
    for node in fitted_nodes(graph):
        waiting = [node.inputs[0]]
        while waiting:
            name = waiting.pop()
            if name != node.inputs[1] and name not in found:
                found[name] = node.name
                waiting += graph.data_inputs(graph.by_name[name])
    return found


def without_functions(graph: Graph) -> Graph:
    """The graph with the neurons alone in the place of functions that they stand for."""
    if not fitted_nodes(graph):
        return graph
    nodes = tuple(
        replace(node, op="identity", inputs=node.inputs[:1], attrs={})
        if node.op == FITTED
        else node
        for node in graph.nodes
    )
    return replace(graph, nodes=nodes)


def original_function(node: Node) -> Node:
    """The function that a fitted node was."""
    return Node(
        node.name, node.attrs["function"], node.inputs[1:], node.attrs["options"], node.source
    )
