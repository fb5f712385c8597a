"""Whether a spiking network fits a chip: its sizes against the chip's limits, layer by layer.

Sizes are those of the network as it stands: a layer of weights and the neurons behind it. What
fits all limits may still not be placed (how layers share cores is the chip's compiler's business);
what does not fit will not be placed.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

from convsnn.graph import Graph, Node
from convsnn.graph.fan_out import is_weighted, passes_on
from convsnn.graph.ops import Role
from convsnn.graph.ops.fitted import FITTED
from convsnn.measure.chip_table import Chip
from convsnn.neurons.base import sends_changes
from convsnn.spiking.network import Spiking

_POTENTIAL_BYTES = 2  # of the 16-bit states that these chips keep

REMEDIES: Mapping[str, str] = {
    "neurons": "split the network over several chips, or use a narrower one",
    "synapses": "split the network over several chips, or use a narrower one",
    "weight_bits": "round the weights: convsnn evaluate ARTIFACT --weight-bits {most} says what "
    "it costs",
    "layers": "use a network of fewer layers, or several chips",
    "neurons_per_layer": "split the layer by channels over several cores, or stride earlier",
    "weights_per_layer": "split the layer by channels over several cores, or use fewer of them",
    "fan_in": "split the layer's inputs, or use groups or a smaller kernel",
    "fan_out": "split the layer behind it, or use a smaller kernel or a sparse layer",
    "targets": "send a copy on through a layer of its own",
    "channels": "use fewer channels",
    "kernel": "use a smaller kernel",
    "map": "stride or pool earlier",
    "groups": "use a convolution without groups",
    "inputs": "reduce the input before it reaches the chip",
    "outputs": "read the classes out in several groups, or on the host",
    "memory_bytes": "split the network over several chips, or round the weights further",
}


@dataclass(frozen=True)
class Finding:
    """One limit and what the network needs of it at its worst place (`layer`; "" for all)."""

    limit: str
    most: float | str
    needed: float | str
    layer: str
    fits: bool
    remedy: str
    source: str  # "" where it is the chip's kind, no figure
    confirmed: bool

    def to_json(self) -> dict[str, Any]:
        """As a dictionary of plain values."""
        return asdict(self)


def fit_chip(net: Spiking, chip: Chip, *, weight_bits: int | None = None) -> list[Finding]:
    """The findings on every limit of `chip`, in its own order, and on what else it refuses.

    `weight_bits` are those that the weights will be rounded to; None for weights as they are.
    """
    needs = _needs(net, weight_bits, chip)
    found = []
    for key, figure in chip.limits.items():
        layer, needed = max(needs[key].items(), key=lambda item: item[1], default=("", 0))
        fits = needed <= figure.value
        remedy = "" if fits else REMEDIES[key].format(most=int(figure.value))
        found.append(
            Finding(key, figure.value, needed, layer, fits, remedy, figure.source, figure.confirmed)
        )
    return found + _refused(net, chip)


def _needs(net: Spiking, bits: int | None, chip: Chip) -> dict[str, dict[str, float]]:
    """What every limit is asked for, by layer; "" stands for the whole network."""
    graph = net.body
    layers = [node for node in graph.nodes if is_weighted(node)]
    weights = {n.name: float(graph.weight(n).numel()) for n in layers}
    neurons = {name: float(prod(site.shape)) for name, site in graph.sites.items()}
    width = bits or (chip.limits["weight_bits"].value if "weight_bits" in chip.limits else 32)
    memory = sum(weights.values()) * width / 8 + sum(neurons.values()) * _POTENTIAL_BYTES
    images = [n for n in layers if n.op != "linear"]
    return {
        "neurons": {"": sum(neurons.values())},
        "synapses": {"": sum(float(_synapses(graph, n)) for n in layers)},
        "weight_bits": {"": float(bits or 32)},
        "layers": {"": float(len(layers))},
        "neurons_per_layer": neurons,
        "weights_per_layer": weights,
        "fan_in": {n.name: float(_fan_in(graph, n)) for n in layers},
        "fan_out": {
            name: float(net.fan_out[name].max()) for name in graph.sites if name in net.fan_out
        },
        "targets": {name: float(len(_targets(graph, name))) for name in graph.sites},
        "channels": {n.name: float(max(_channels(graph, n))) for n in images},
        "kernel": {n.name: float(max(graph.weight(n).shape[2:])) for n in images},
        "map": {n.name: float(max(graph.shapes[n.name][1:])) for n in images},
        "groups": {n.name: float(n.attrs.get("groups", 1)) for n in images},
        "inputs": {graph.input.name: float(prod(graph.input.attrs["shape"]))},
        "outputs": {name: float(prod(graph.shapes[name])) for name in graph.outputs},
        "memory_bytes": {"": memory},
    }


def _fan_in(graph: Graph, node: Node) -> int:
    weight = graph.weight(node)
    if node.op == "conv_transpose":
        return weight.numel() // (weight.shape[1] * node.attrs.get("groups", 1))
    return weight.numel() // len(weight)


def _synapses(graph: Graph, node: Node) -> int:
    return _fan_in(graph, node) * prod(graph.shapes[node.name])


def _channels(graph: Graph, node: Node) -> tuple[int, int]:
    return graph.shapes[graph.data_inputs(node)[0]][0], graph.shapes[node.name][0]


def _targets(graph: Graph, site: str) -> set[str]:
    """The layers with weights and the neurons that a site drives, seen through what passes on."""
    found: set[str] = set()
    waiting = [site]
    while waiting:
        for node in graph.consumers[waiting.pop()]:
            if is_weighted(node) or node.role is Role.ACTIVATION:
                found.add(node.name)
            elif passes_on(node) or node.role in (Role.LINEAR, Role.MAX_POOL):
                waiting.append(node.name)
    return found


def _refused(net: Spiking, chip: Chip) -> list[Finding]:
    """What the chip does not run whatever its size: neurons, pools, currents as input."""
    found, source = [], ""
    if chip.neurons is not None:
        other = {name: kind for name, kind in net.kinds.items() if kind not in chip.neurons}
        layer = next(iter(other), "")
        needed = other.get(layer, next(iter(net.kinds.values()), ""))
        remedy = f"convert with --neuron {chip.neurons[0]}" if other else ""
        asked = ", ".join(chip.neurons)
        found.append(Finding("neuron", asked, needed, layer, not other, remedy, source, True))
    held = [name for name, neuron in net.neurons.items() if sends_changes(neuron)]
    if held and chip.neurons is None:
        remedy = "convert without differential=true: layers would keep the mean of what they get"
        found.append(
            Finding("spikes", "sent and forgotten", "changes of a mean", held[0], False, remedy,
                    source, True)
        )  # fmt: skip
    pools = [
        n for n in net.graph.nodes
        if n.role is Role.MAX_POOL or n.op in ("avg_pool", "adaptive_avg_pool", "mean")
    ]  # fmt: skip
    for node in [n for n in net.graph.nodes if n.op == FITTED][:1]:
        remedy = "convert without --fit: every neuron of a value needs a copy of the weights"
        found.append(
            Finding("weights", "of each neuron", "shared by fitted ones", node.name, False, remedy,
                    source, True)
        )  # fmt: skip
    if chip.pools is not None and pools:
        wrong = [n for n in pools if n.op not in chip.pools]
        shown = wrong[0] if wrong else pools[0]
        remedy = "pool by averages, or by strides of a convolution" if wrong else ""
        asked = ", ".join(chip.pools) or "none"
        found.append(Finding("pool", asked, shown.op, shown.name, not wrong, remedy, source, True))
    if chip.spikes_only:
        spikes = net.encoder.spec().startswith(("poisson", "frames", "tsc"))
        remedy = "" if spikes else (
            "keep the input layer on the host and send its spikes (convsnn export --to nir --input "
            "host), or convert with --encoder poisson"
        )  # fmt: skip
        needed = "spikes" if spikes else "a current at every step"
        place = net.graph.input.name
        found.append(Finding("input", "spikes", needed, place, spikes, remedy, source, True))
    return found
