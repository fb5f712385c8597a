"""Energy of one image, original network against spiking network, as ratios common in papers.

    E_ANN     = 4.6 pJ * sum_l M_l                                   M_l: multiply-accumulates
    E_paper   = T * M_1 * 4.6 pJ + T * sum_{l >= 2} M_l f_{l-1} * 0.9 pJ
    E_counted = sum over steps and senders of (events * fan-out) * (4.6 pJ if graded else 0.9 pJ)
    E_cached  = E_counted with the layers that see the input alone charged once, not T times

4.6 pJ a 32-bit multiply-accumulate and 0.9 pJ an addition at 45 nm (Horowitz 2014); E_paper is
the form that reproduces MSAT's 0.84 (Table and section 5.3), f the mean spikes per neuron and step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from convsnn.graph import Graph, Node
from convsnn.graph.fan_out import is_weighted
from convsnn.graph.ops import OPS, Role
from convsnn.simulate.trains import sends_graded
from convsnn.spiking.network import Spiking

MAC_JOULES = 4.6e-12
AC_JOULES = 0.9e-12

NOT_COUNTED = (
    "additions of biases, residual sums and pooling windows, in both networks",
    "updates and comparisons of membrane potentials",
    "memory access, communication between cores, and static power",
)


@dataclass(frozen=True)
class Layer:
    """A layer with weights: its multiply-accumulates and what drives it.

    `drivers` are the neuron sites whose spikes it reads, each with the share of its rate that
    arrives (sums add up, concatenations average); `analog` is True where the input reaches the
    layer without passing a neuron.
    """

    name: str
    macs: int
    drivers: Mapping[str, float]
    analog: bool


def macs(graph: Graph, node: Node) -> int:
    """Multiply-accumulates of one node for one sample; zero where the op has no weights."""
    count = OPS[node.op].macs
    if count is None:
        return 0
    source = graph.data_inputs(node)[0]
    return count(graph.weight(node).shape, graph.shapes[source], graph.shapes[node.name])


def _mixed(graph: Graph, node: Node, before: Sequence[Mapping[str, float]]) -> dict[str, float]:
    sizes = [prod(graph.shapes[name]) for name in graph.data_inputs(node)]
    shares = [s / sum(sizes) for s in sizes] if node.op == "concat" else [1.0] * len(sizes)
    mixed: dict[str, float] = {}
    for found, share in zip(before, shares, strict=True):
        for site, weight in found.items():
            mixed[site] = mixed.get(site, 0.0) + share * weight
    return mixed


@dataclass(frozen=True)
class Drivers:
    """What reaches a node without passing a neuron: `sites`, each with the share of its rate that
    arrives (see `Layer`), and whether the input does."""

    sites: Mapping[str, float]
    analog: bool


def drivers(graph: Graph) -> dict[str, Drivers]:
    """What drives every node; of a neuron site, what drives its current."""
    found: dict[str, Drivers] = {}
    sent: dict[str, Drivers] = {}
    for node in graph.nodes:
        sources = [sent[name] for name in graph.data_inputs(node)]
        sites = _mixed(graph, node, [source.sites for source in sources])
        analog = node.role is Role.INPUT or any(source.analog for source in sources)
        found[node.name] = sent[node.name] = Drivers(sites, analog)
        if node.role is Role.ACTIVATION:
            sent[node.name] = Drivers({node.name: 1.0}, False)
    return found


def weighted_layers(graph: Graph) -> list[Layer]:
    """Every layer with weights and the sites that drive it; pooling is looked through."""
    found = drivers(graph)
    return [
        Layer(node.name, macs(graph, node), found[node.name].sites, found[node.name].analog)
        for node in graph.nodes
        if is_weighted(node)
    ]


def joules_per_operation(net: Spiking, node: Node) -> float:
    """What one synaptic operation of a sending node costs: more where it sends graded values."""
    return MAC_JOULES if sends_graded(net, node) else AC_JOULES


def ann_joules(graph: Graph) -> float:
    """Energy of one image in the original network."""
    return MAC_JOULES * sum(macs(graph, node) for node in graph.nodes)


def paper_joules(layer_macs: Sequence[int], rates: Sequence[float | None], steps: int) -> float:
    """E_paper over `steps`; a rate of None marks a layer that is driven by analog values."""
    total = 0.0
    for count, rate in zip(layer_macs, rates, strict=True):
        total += count * (MAC_JOULES if rate is None else AC_JOULES * rate)
    return steps * total
