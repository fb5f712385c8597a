"""Where whole spike trains are passed on: networks that fire layer by layer.

Trains there are sorted, so that of those in a pooling window, sent with one threshold, the longest
is the maximum at every step. What the pool passes on is as binary as what came in.
"""

from convsnn.graph import Node
from convsnn.graph.fan_out import is_graded
from convsnn.graph.ops import Role
from convsnn.neurons.base import Coding
from convsnn.simulate.units import MOVES, narrow, passed_unit
from convsnn.spiking.network import Spiking


def train_carriers(net: Spiking) -> frozenset[str]:
    """The nodes that pass on what neurons sent, spike by spike: max-pools whose windows see one
    threshold only, and what only moves values. None in a network that fires step by step, where
    pooling sums up and corrects itself."""
    if net.schedule == "steps":
        return frozenset()
    graph = net.graph
    units = {
        name: narrow(planned.threshold, graph.shapes[name])
        for name, planned in net.plan.sites.items()
        if not isinstance(net.neurons[name], Coding)  # whose spikes differ in size
    }
    for node in graph.nodes:
        if node.role is Role.MAX_POOL or node.op in MOVES:
            unit = passed_unit(graph, node, units)
            if unit is not None:
                units[node.name] = unit
    return frozenset(units.keys() - net.plan.sites.keys())


def sends_graded(net: Spiking, node: Node) -> bool:
    """Whether a node that sends can send more than 'spike or none' in a step."""
    if node.role is Role.ACTIVATION:
        return net.neurons[node.name].graded
    if node.name in train_carriers(net):
        return any(neurons.graded for neurons in net.neurons.values())
    return is_graded(node)
