"""NeuroBench's metrics of a spiking network, under its names and by its definitions.

    Footprint           bytes of all parameters of the network as it is simulated
    ConnectionSparsity  share of weights that are zero
    ActivationSparsity  share of (neuron, step) pairs without a spike
    SynapticOperations  per image, over all steps: Effective_MACs for values that are no spikes,
                        Effective_ACs for spikes, both without weights that are zero; Dense, all
                        connections at every step (the first layer's too, kept or not)
    MembraneUpdates     per image: potentials that a step changes

Defined in Yik et al. 2025, "The NeuroBench framework for benchmarking neuromorphic computing
algorithms and systems", and by its harness (neurobench 2.3), which a test compares with. Two are
simplified: where weights are zero, operations are lowered by the share of zeros in the layers that
a place sends to; and every step counts as a change of every potential, which it is where layers
have biases.
"""

from collections.abc import Mapping
from typing import Any

from convsnn.graph.fan_out import is_weighted
from convsnn.measure.activity import Activity
from convsnn.measure.energy.structure import Structure
from convsnn.simulate.trains import sends_graded
from convsnn.spiking.network import Spiking


def neurobench(
    net: Spiking, activity: Activity, connections: Mapping[str, int], *, weight_bits: int
) -> dict[str, Any]:
    """The metrics after the last step; `connections` as in `Seen`."""
    graph, steps = net.graph, activity.at[-1]
    structure = Structure(graph, connections)
    weights = {node.name: net.body.weight(node) for node in structure.weighted}
    nonzero = {name: float((w != 0).double().mean()) for name, w in weights.items()}
    macs = acs = 0.0
    for name in activity.operations:
        operations = float(activity.operations_per_image(name)[-1])
        layers = [node.name for node in structure.fed.get(name, [])]
        size = sum(structure.connections[layer] for layer in layers)
        kept = sum(nonzero[layer] * structure.connections[layer] for layer in layers)
        effective = operations * (kept / size if size else 1.0)
        if sends_graded(net, graph.by_name[name]):
            macs += effective
        else:
            acs += effective
    spikes = sum(float(activity.up_to(activity.events[n])[-1]) for n in graph.sites)
    zeros = sum(int((w == 0).sum()) for w in weights.values())
    count = sum(w.numel() for w in weights.values())
    return {
        "Footprint": _bytes(net, weight_bits),
        "ConnectionSparsity": round(zeros / count, 4) if count else 0.0,
        "ActivationSparsity": 1 - spikes / (graph.neurons * steps * activity.samples),
        "SynapticOperations": {
            "Effective_MACs": macs,
            "Effective_ACs": acs,
            "Dense": float(steps * sum(connections.values())),
        },
        "MembraneUpdates": float(steps * graph.neurons),
    }


def _bytes(net: Spiking, weight_bits: int) -> int:
    """Weights as they are simulated, and everything else in 4 bytes."""
    layers = [node for node in net.graph.nodes if is_weighted(node)]
    weights = sum(net.body.weight(node).numel() for node in layers)
    biases = sum(
        net.body.tensors[node.inputs[2]].numel() for node in layers if len(node.inputs) > 2
    )
    sites = sum(t.numel() for site in net.plan.sites.values() for t in site.tensors().values())
    return round(weights * weight_bits / 8) + 4 * (biases + sites)
