"""The stops of a network whose layers are looked at one after another: from what neurons send to
the currents that it makes."""

from dataclasses import dataclass
from math import prod

from calibrate.base import Context
from convsnn.graph import Graph, Node, Site
from convsnn.graph.ops import Role
from convsnn.measure.energy import macs

OF_NEURON = 100  # multiply-accumulates that a neuron costs about as much time as


@dataclass(frozen=True)
class Layer:
    """One stop of a replay: the nodes that make the value `end` from what neurons sent.

    `site` are the neurons it drives; None where `end` is an output of the network.
    """

    nodes: tuple[Node, ...]
    end: str
    site: Site | None


def stops_of(context: Context) -> list[Layer]:
    """Every layer in order, the outputs last."""
    graph = context.graph
    tail = graph.behind([Role.READOUT])
    read = [i for n in graph.nodes if n.name in tail for i in graph.data_inputs(n)]
    outputs = dict.fromkeys(name for name in (*graph.outputs, *read) if name not in tail)
    ends: list[tuple[str, Site | None]] = [
        (graph.data_inputs(graph.by_name[n])[0], site) for n, site in graph.sites.items()
    ]
    ends += [(name, None) for name in outputs]
    return [Layer(_between(context, end), end, site) for end, site in ends]


def _between(context: Context, end: str) -> tuple[Node, ...]:
    """The nodes, in order, that `end` needs beside what neurons and the input send."""
    graph, found, open_ = context.graph, set(), [end]
    while open_:
        node = graph.by_name[open_.pop()]
        if node.role in (Role.ACTIVATION, Role.INPUT) or node.name in found:
            continue
        found.add(node.name)
        open_ += graph.data_inputs(node)
    return tuple(node for node in graph.nodes if node.name in found)


def work_of(graph: Graph, layer: Layer) -> int:
    """How much there is to do in a layer: its multiply-accumulates, and some for each neuron."""
    neurons = 0 if layer.site is None else prod(layer.site.shape)
    return 1 + sum(macs(graph, node) for node in layer.nodes) + OF_NEURON * neurons


def reads_of(layer: Layer) -> set[str]:
    """The names of all that a layer is made from, its own values among them."""
    return {layer.end, *(name for node in layer.nodes for name in node.inputs)}
