"""The work of the original network for one image, whole or with its zeros skipped, and quantised.

What is quantised differs in the width of numbers only, and in one multiplication a value, which
brings it to the grid of the next layer.
"""

from collections.abc import Iterator, Mapping

from torch import Tensor

from convsnn.graph.fits import parts_of_fits
from convsnn.graph.ops import Role
from convsnn.measure.energy.rows import Row, one, shared
from convsnn.measure.energy.smooth import original_rows
from convsnn.measure.energy.spiking import ADDRESSES, GRADED_BITS
from convsnn.measure.energy.structure import Structure
from convsnn.measure.energy.zeros import Seen


def dense_rows(
    structure: Structure,
    *,
    quantised: bool = False,
    skipped: Seen | None = None,
    samples: int = 1,
) -> list[Row]:
    """The work of one image; with `skipped`, sums over `samples`, as it is without zeros."""
    return [
        *_layers(structure, skipped, samples),
        *_activations(structure, quantised=quantised),
        *_sums(structure),
        *_pools(structure),
        *original_rows(structure, quantised=quantised),
    ]


def _layers(structure: Structure, skipped: Seen | None, samples: int) -> Iterator[Row]:
    graph = structure.graph
    for node in structure.weighted:
        name = node.name
        read, written = structure.size(graph.data_inputs(node)[0]), structure.size(name)
        operations = float(structure.connections[name])
        addresses = float(read + written)
        if skipped is not None:
            operations = skipped.effective[name] / samples
            addresses = operations + ADDRESSES * skipped.nonzero[name] / samples
        counts = {
            "graded_operations": one(operations),
            "weights_read": one(operations),
            "weights_dense": one(structure.connections[name]),
            "values": one(read),
            "addressing": one(addresses),
        }
        if structure.biased(node):
            counts["biases"] = one(written)
        driven = structure.drivers[name]
        bits = GRADED_BITS if driven.analog and not driven.sites else None  # an image
        yield Row(
            name, counts, structure.weights(node), value_bits=bits, owners=shared(driven.sites)
        )


def _activations(structure: Structure, *, quantised: bool) -> Iterator[Row]:
    inside = parts_of_fits(structure.graph)
    for name, site in structure.graph.sites.items():
        if name in inside:  # the original has one function there
            continue
        size = one(structure.size(name))
        # a coding neuron stands where the original has nothing, and a quantised one a rounding
        counts: dict[str, Tensor] = {} if site.kind == "code" else {"comparisons": size}
        if quantised:
            counts["scalings"] = size
        yield Row(name, counts, owners={name: 1.0})


def _sums(structure: Structure) -> Iterator[Row]:
    inside = parts_of_fits(structure.graph)
    for node in structure.sums:
        if node.name in inside:
            continue
        work = structure.size(node.name) * (len(structure.graph.data_inputs(node)) - 1)
        owners = shared(structure.drivers[node.name].sites)
        yield Row(node.name, {"residual_sums": one(work)}, owners=owners)


def _pools(structure: Structure) -> Iterator[Row]:
    for node, work in structure.pools:
        owners = shared(structure.drivers[node.name].sites)
        yield Row(node.name, {"pooling": one(work)}, owners=owners)


def values_held(structure: Structure) -> Mapping[str, int]:
    """What the network has to hold: parameters, and the values of the layer that has most."""
    graph = structure.graph
    weights = sum(structure.weights(node) for node in structure.weighted)
    biases = sum(
        graph.tensors[n.inputs[2]].numel() for n in structure.weighted if structure.biased(n)
    )
    most = max(
        structure.size(node.name) + sum(structure.size(name) for name in graph.data_inputs(node))
        for node in graph.nodes
        if node.role is not Role.INPUT
    )
    return {"weights": weights, "biases": biases, "values": most}
