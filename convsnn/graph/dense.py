"""What functions and products of a network take for one sample, whatever its spikes.

A network that runs in time steps does all of it at every step, or once for each T where layers
fire one after another; sums that they are made of are dense state besides.
"""

from dataclasses import dataclass
from math import prod

from convsnn.graph import Graph
from convsnn.graph.ops import OPS, Role


@dataclass(frozen=True)
class Dense:
    """`evaluations` of functions, `multiplications` of products, and the elements of the inputs of
    both (`state`), which are summed up over time."""

    evaluations: int
    multiplications: int
    state: int


def dense_operations(graph: Graph) -> Dense:
    """Of one sample of `graph`."""
    found = {Role.FUNCTION: 0, Role.PRODUCT: 0}
    state = 0
    for node in graph.smooth:
        inputs = [graph.shapes[name] for name in graph.data_inputs(node)]
        count = OPS[node.op].dense
        found[node.role] += 0 if count is None else count(inputs, graph.shapes[node.name])
        state += sum(map(prod, inputs))
    return Dense(found[Role.FUNCTION], found[Role.PRODUCT], state)
