"""Max-pools the current before the neuron: relu then max_pool becomes max_pool then relu.

Exact in the original network, because both keep the order of values. In a spiking network it is
the cheaper choice and a biased one: the pool then takes the largest current of each step, and the
mean of maxima is at least the maximum of means. Pools that cannot be swapped (behind a
concatenation, read twice) stay as they are: exact.
"""

from dataclasses import replace

from convsnn.graph import Graph, Node
from convsnn.graph.ops import Role
from convsnn.passes.edit import only_reader, rebuild


def _keeps_order(graph: Graph, node: Node) -> bool:
    """Whether the activation rises everywhere, and is the same all over a window."""
    slope = graph.sites[node.name].slope
    if slope is None:
        return True
    return bool((slope >= 0).all()) and all(size == 1 for size in slope.shape[1:])


def pool_before_neuron(graph: Graph) -> Graph:
    """Swap every activation whose only reader is a max-pool with that pool."""
    for node in graph.nodes:
        pool = only_reader(graph, node)
        if node.role is not Role.ACTIVATION or pool is None or pool.role is not Role.MAX_POOL:
            continue
        if not _keeps_order(graph, node):
            continue
        first = replace(pool, inputs=node.inputs[:1], attrs={**pool.attrs, "each_step": True})
        second = replace(node, inputs=(pool.name, *node.inputs[1:]))
        after = {
            n.name: (
                replace(n, inputs=tuple(node.name if i == pool.name else i for i in n.inputs)),
            )
            for n in graph.consumers[pool.name]
        }
        if pool.name in graph.outputs:
            continue
        graph = rebuild(graph, changed={node.name: (), pool.name: (first, second), **after})
        return pool_before_neuron(graph)
    return graph
