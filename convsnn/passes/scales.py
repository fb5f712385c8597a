"""Merges constant factors and offsets into the weights beside them.

A factor behind a layer scales its weights' rows, one before a layer their columns; a factor that
meets pooling or flattening is first carried through it. It is never carried through an activation:
thresholds stay in the units of the source network.
"""

from dataclasses import replace

import torch
from torch import Tensor

from convsnn.graph import Graph, Node
from convsnn.passes.batch_norm import scale_inputs, scale_outputs, with_parameters
from convsnn.passes.edit import only_reader, rebuild

_WEIGHTED = ("conv", "conv_transpose", "linear")
_AFFINE = ("scale", "add_constant")


def _axis(graph: Graph, weighted: Node, name: str) -> int:
    """The axis of the value `name` (batch included) that the layer's channels lie on."""
    return len(graph.shapes[name]) if weighted.op == "linear" else 1


def _per_channel(constant: Tensor, axis: int, channels: int) -> Tensor | None:
    """The constant as (C,) if it varies along `axis` only."""
    if any(size != 1 for i, size in enumerate(constant.shape) if i != axis):
        return None
    return constant.double().flatten().expand(channels)


def _gain_and_shift(
    graph: Graph, affine: Node, weighted: Node, channels: int
) -> tuple[Tensor, Tensor] | None:
    axis = _axis(graph, weighted, affine.name)
    values = _per_channel(graph.tensors[affine.inputs[1]], axis, channels)
    if values is None:
        return None
    if affine.op == "scale":
        return values, torch.zeros_like(values)
    return torch.ones_like(values), values


def _merge_behind(graph: Graph, node: Node, affine: Node) -> Graph | None:
    axis = _axis(graph, node, node.name)
    found = _gain_and_shift(graph, affine, node, graph.shapes[node.name][axis - 1])
    if found is None or graph.shapes[affine.name] != graph.shapes[node.name]:
        return None
    changed, tensors = with_parameters(
        graph, node, node.inputs[0], *scale_outputs(graph, node, *found)
    )
    return rebuild(
        graph,
        changed={node.name: (changed,), affine.name: ()},
        rewired={affine.name: node.name},
        tensors=tensors,
    )


def _merge_before(graph: Graph, affine: Node, node: Node) -> Graph | None:
    axis = _axis(graph, node, affine.name)
    found = _gain_and_shift(graph, affine, node, graph.shapes[affine.name][axis - 1])
    if found is None or graph.shapes[affine.name] != graph.shapes[affine.inputs[0]]:
        return None
    merged = scale_inputs(graph, node, *found)
    if merged is None:
        return None
    changed, tensors = with_parameters(graph, node, affine.inputs[0], *merged)
    return rebuild(graph, changed={affine.name: (), node.name: (changed,)}, tensors=tensors)


def _carried(graph: Graph, factor: Tensor, node: Node) -> Tensor | None:
    """The factor as it must stand behind `node` to have the same effect, or None."""
    rank = len(graph.shapes[node.name]) + 1
    if node.op == "max_pool" and bool((factor <= 0).any()):
        return None
    spatial_free = all(size == 1 for size in factor.shape[2:])
    if node.op in ("max_pool", "avg_pool", "adaptive_avg_pool", "upsample") and spatial_free:
        return factor
    if node.op == "mean" and spatial_free and 1 not in node.attrs["dims"]:
        return factor.reshape((*factor.shape[:2], *[1] * (rank - 2)))
    if node.op == "reshape" and factor.numel() == 1:
        return factor.reshape((1,) * rank)
    if node.op == "reshape" and rank == 2:
        return factor.expand(1, *graph.shapes[node.inputs[0]]).reshape(1, -1)
    return None


def _carry(graph: Graph, scale: Node, node: Node) -> Graph | None:
    if graph.shapes[scale.name] != graph.shapes[scale.inputs[0]] or len(node.inputs) != 1:
        return None
    factor = _carried(graph, graph.tensors[scale.inputs[1]], node)
    if factor is None:
        return None
    name, constant = f"{node.name}.scaled", f"{node.name}.factor"
    if {name, constant} & {*graph.by_name, *graph.tensors}:
        return None
    moved = (
        replace(node, inputs=(scale.inputs[0],)),
        Node(name, "scale", (node.name, constant), source=scale.source),
    )
    after = {
        reader.name: (
            replace(reader, inputs=tuple(name if i == node.name else i for i in reader.inputs)),
        )
        for reader in graph.consumers[node.name]
    }
    return rebuild(
        graph,
        changed={scale.name: (), node.name: moved, **after},
        tensors={constant: factor.contiguous()},
    )


def _merge_one(graph: Graph) -> Graph | None:
    for node in graph.nodes:
        reader = only_reader(graph, node)
        if reader is None:
            continue
        merged = None
        if node.op in _WEIGHTED and reader.op in _AFFINE:
            merged = _merge_behind(graph, node, reader)
        elif node.op in _AFFINE and reader.op in _WEIGHTED:
            merged = _merge_before(graph, node, reader)
        elif node.op == "scale" and reader.name not in graph.outputs:
            merged = _carry(graph, node, reader)
        if merged is not None:
            return merged
    return None


def merge_scales(graph: Graph) -> Graph:
    """Merge every constant factor and offset that has weights to go into."""
    while (merged := _merge_one(graph)) is not None:
        graph = merged
    return graph
