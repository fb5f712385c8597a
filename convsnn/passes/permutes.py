"""Folds transposes away: the NHWC detours of TensorFlow exports.

A permute sinks through what works element by element, meets its inverse and vanishes, or reaches
flatten + fully connected and becomes an order of the weight's columns.
"""

from dataclasses import replace

import torch

from convsnn.graph import Graph, Node
from convsnn.passes.edit import only_reader, rebuild


def _inverse(dims: list[int]) -> list[int]:
    return sorted(range(len(dims)), key=dims.__getitem__)


def _sink(graph: Graph, permute: Node, reader: Node) -> Graph | None:
    """Swap permute -> element-wise op; the op works in the order before the permute."""
    dims = list(permute.attrs["dims"])
    source = permute.inputs[0]
    inputs: tuple[str, ...] = (source,)
    tensors = {}
    if reader.op in ("scale", "add_constant"):
        if graph.shapes[reader.name] != graph.shapes[permute.name]:
            return None
        name = f"{reader.name}.permuted"
        tensors[name] = graph.tensors[reader.inputs[1]].permute(_inverse(dims)).contiguous()
        inputs = (source, name)
    elif reader.op == "leaky_relu":
        name = f"{reader.name}.permuted_slope"
        tensors[name] = graph.tensors[reader.inputs[1]].permute(_inverse(dims)).contiguous()
        inputs = (source, name)
    elif reader.op not in ("relu", "clip", "quantized_clip", "identity"):
        return None
    # The neuron keeps the user's name; the permute behind it takes another.
    inner = replace(reader, inputs=inputs)
    back = replace(permute, name=f"{reader.name}.order", inputs=(reader.name,))
    if back.name in graph.by_name or reader.name in graph.outputs:
        return None
    after = {
        n.name: (replace(n, inputs=tuple(back.name if i == reader.name else i for i in n.inputs)),)
        for n in graph.consumers[reader.name]
    }
    return rebuild(
        graph,
        changed={permute.name: (), reader.name: (inner, back), **after},
        tensors=tensors,
    )


def _compose(graph: Graph, first: Node, second: Node) -> Graph:
    dims = [first.attrs["dims"][i] for i in second.attrs["dims"]]
    node = replace(second, inputs=first.inputs, attrs={"dims": dims})
    return rebuild(graph, changed={first.name: (), second.name: (node,)})


def _into_linear(graph: Graph, permute: Node, flatten: Node) -> Graph | None:
    """permute -> flatten -> linear: take the weight's columns in the order before the permute."""
    linear = only_reader(graph, flatten)
    if linear is None or linear.op != "linear" or len(graph.shapes[flatten.name]) != 1:
        return None
    shape = graph.shapes[permute.inputs[0]]
    order = torch.arange(graph.shapes[flatten.name][0]).reshape(1, *shape)
    order = order.permute(permute.attrs["dims"]).flatten()  # position in old order, as read
    weight = graph.weight(linear)
    columns = torch.empty_like(weight)
    columns[:, order] = weight
    name = f"{linear.name}.reordered_weight"
    return rebuild(
        graph,
        changed={
            permute.name: (),
            flatten.name: (replace(flatten, inputs=permute.inputs),),
            linear.name: (replace(linear, inputs=(linear.inputs[0], name, *linear.inputs[2:])),),
        },
        tensors={name: columns},
    )


def _fold_one(graph: Graph) -> Graph | None:
    for node in graph.nodes:
        if node.op != "permute":
            continue
        reader = only_reader(graph, node)
        if reader is None:
            continue
        folded: Graph | None = None
        if reader.op == "permute":
            folded = _compose(graph, node, reader)
        elif reader.op == "reshape":
            folded = _into_linear(graph, node, reader)
        else:
            folded = _sink(graph, node, reader)
        if folded is not None:
            return folded
    return None


def fold_permutes(graph: Graph) -> Graph:
    """Fold every permute that can be folded exactly."""
    while (folded := _fold_one(graph)) is not None:
        graph = folded
    return graph
