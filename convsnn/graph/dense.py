"""What functions and products of a network take for one sample, whatever its spikes.

A network that runs in time steps does all of it at every step, or once for each T where layers
fire one after another; sums that they are made of are dense state besides.
"""

from dataclasses import dataclass
from math import prod

from convsnn.graph.form import Graph
from convsnn.graph.node import Node
from convsnn.graph.ops import OPS, Role
from convsnn.graph.ops.base import Arithmetic


@dataclass(frozen=True)
class Dense:
    """`evaluations` are values that functions give, `multiplications` those of products, `state`
    the elements of the inputs of both, which are summed up over time."""

    evaluations: int
    multiplications: int
    state: int


def arithmetic(graph: Graph, node: Node) -> Arithmetic:
    """What a function or a product takes for one sample."""
    count = OPS[node.op].dense
    if count is None:
        return Arithmetic()
    inputs = [graph.shapes[name] for name in graph.data_inputs(node)]
    return count(inputs, graph.shapes[node.name], node.attrs)


def read_elements(graph: Graph, node: Node) -> int:
    """How many values a node reads."""
    return sum(prod(graph.shapes[name]) for name in graph.data_inputs(node))


def dense_operations(graph: Graph) -> Dense:
    """Of one sample of `graph`."""
    evaluations = multiplications = state = 0
    for node in graph.smooth:
        if node.role is Role.FUNCTION:
            evaluations += prod(graph.shapes[node.name])
        else:
            multiplications += arithmetic(graph, node).multiplications
        state += read_elements(graph, node)
    return Dense(evaluations, multiplications, state)
