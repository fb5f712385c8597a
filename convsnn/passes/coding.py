"""Puts coding neurons before weights and products, so that these meet spikes only.

A layer with weights gets one where its input comes out of a function or a product with only
linear ops between; an operand of a product gets one unless it is made of spikes alone. Functions
need none: they act on what has accumulated. A coding neuron sends on its own input, so the
original network stays the same.
"""

from convsnn.graph import Graph, Node
from convsnn.graph.fan_out import is_weighted
from convsnn.graph.ops import Role
from convsnn.graph.ops.base import SMOOTH
from convsnn.passes.edit import rebuild


def with_coding(graph: Graph) -> Graph:
    """The graph with a `code` node behind every value that needs one."""
    wanted = _wanted(graph)
    if not wanted:
        return graph
    taken = {*graph.by_name, *graph.tensors}
    names = {source: _unused(f"{source}.code", taken) for source in wanted}
    changed: dict[str, tuple[Node, ...]] = {}
    for node in graph.nodes:
        inputs = node.inputs
        if is_weighted(node) or node.role is Role.PRODUCT:
            inputs = tuple(names.get(name, name) for name in inputs)
        made = [Node(node.name, node.op, inputs, node.attrs, node.source)]
        if node.name in wanted:
            code = Node(names[node.name], "code", (node.name,), {"axis": wanted[node.name]})
            made.append(Node(code.name, code.op, code.inputs, code.attrs, node.source))
        changed[node.name] = tuple(made)
    return rebuild(graph, changed=changed)


def _wanted(graph: Graph) -> dict[str, int]:
    """The values that need a coding neuron, each with the axis that has a threshold each."""
    analog, spiking, found = set[str](), set[str](), dict[str, int]()
    for node in graph.nodes:
        before = graph.data_inputs(node)
        if is_weighted(node):
            if before[0] in analog:
                found.setdefault(before[0], _axis(graph, node, before[0]))
            continue
        if node.role is Role.PRODUCT:
            for name in before:
                if name not in spiking:
                    found.setdefault(name, _axis(graph, node, name))
        if node.role in SMOOTH:
            analog.add(node.name)
        elif node.role is Role.ACTIVATION:
            spiking.add(node.name)
        elif before:
            if analog.intersection(before):
                analog.add(node.name)
            if spiking.issuperset(before):
                spiking.add(node.name)
    return found


def _axis(graph: Graph, reader: Node, name: str) -> int:
    """The last axis where a fully connected layer reads, else the first: channels, or heads."""
    return len(graph.shapes[name]) - 1 if reader.op == "linear" else 0


def _unused(wanted: str, taken: set[str]) -> str:
    name, count = wanted, 0
    while name in taken:
        count += 1
        name = f"{wanted}_{count}"
    taken.add(name)
    return name
