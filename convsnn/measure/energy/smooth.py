"""The work of functions and products, which is dense: no spike that is missing saves any of it.

The original does it once for an image. So does a spiking network that fires layer by layer, on
values that are finished; only the sums of what arrives spike by spike are updated at every step.
One that runs step by step does all of it at every step, and besides, to pass on a running
difference, divides each sum by the number of steps, multiplies each result by it and subtracts
what was passed on (see `convsnn.simulate.difference`).
"""

from collections.abc import Collection, Iterator, Mapping

from torch import Tensor

from convsnn.graph import Graph, Node
from convsnn.graph.dense import arithmetic, read_elements
from convsnn.graph.fits import fitted_nodes, original_function
from convsnn.graph.ops import Role
from convsnn.graph.ops.base import SMOOTH
from convsnn.measure.energy.price import STATE_BITS
from convsnn.measure.energy.rows import Row, one, shared
from convsnn.measure.energy.structure import Structure


def original_rows(structure: Structure, *, quantised: bool) -> Iterator[Row]:
    """Of one image in the original, functions that neurons stand for among them; what these give
    is rounded where it is `quantised`."""
    graph = structure.graph
    for node in graph.smooth:
        counts = _counts(graph, node, one(1.0))
        counts["values"] = one(read_elements(graph, node))
        yield Row(node.name, counts, owners=_owners(structure, node))
    for node in fitted_nodes(graph):
        size = structure.size(node.name)
        counts = _counts(graph, original_function(node), one(1.0)) | {"values": one(size)}
        if quantised:
            counts["scalings"] = one(size)
        yield Row(node.name, counts, owners=_owners(structure, node))


def spiking_rows(
    structure: Structure, *, steps: Tensor, waits: bool, fixed: Collection[str]
) -> Iterator[Row]:
    """Of one image up to each of `steps`; `waits` where layers fire one after another, `fixed`
    values are the same at every step, and computed once."""
    graph, once = structure.graph, steps / steps
    finished = _finished(graph) if waits else frozenset[str]()
    for node in graph.smooth:
        if node.name in fixed:
            counts = _counts(graph, node, once)
            counts["values"] = read_elements(graph, node) * once
            yield Row(node.name, counts, value_bits=STATE_BITS)
            continue
        size, read = structure.size(node.name), read_elements(graph, node)
        counts = _counts(graph, node, once if waits else steps)
        held, accesses = read, 0 * steps
        for name in graph.data_inputs(node):
            times = once if name in finished else steps
            accesses = accesses + 2 * structure.size(name) * times
        if not waits:
            difference = (read + size) * steps
            for item in ("function_multiplications", "function_additions"):
                counts[item] = counts.get(item, 0 * steps) + difference
            held, accesses = read + size, accesses + 2 * size * steps
        counts["state_accesses"] = accesses
        owners = _owners(structure, node)
        yield Row(node.name, counts, state=held, value_bits=STATE_BITS, owners=owners)


def _counts(graph: Graph, node: Node, times: Tensor) -> dict[str, Tensor]:
    work = arithmetic(graph, node)
    product = node.role is Role.PRODUCT
    found: Mapping[str, int] = {
        "products" if product else "function_multiplications": work.multiplications,
        "function_additions": work.additions,
        "comparisons": work.comparisons,
        "lookups": work.lookups,
    }
    return {item: count * times for item, count in found.items() if count}


def _finished(graph: Graph) -> frozenset[str]:
    """Values that come whole, once, where layers fire one after another: out of functions and
    products without a neuron behind."""
    found: set[str] = set()
    for node in graph.nodes:
        before = graph.data_inputs(node)
        through = node.role is Role.LINEAR and before and found.issuperset(before)
        if node.role in SMOOTH or through:
            found.add(node.name)
    return frozenset(found)


def _owners(structure: Structure, node: Node) -> dict[str, float]:
    return shared(structure.drivers[node.name].sites)
