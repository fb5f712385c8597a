"""Folds batch norm into its neighbour (seeds: Rueckauer et al. 2017, section 2.2.3).

behind a layer:  W' = W * g     b' = (b - mean) * g + beta     with g = gamma / sqrt(var + eps)
before a layer:  W' = W * g     b' = b + W (beta - mean * g)   (only without zero padding,
                 which would have to be padded with another value)
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from convsnn.graph import Graph, Node
from convsnn.passes.edit import only_reader, rebuild

_WEIGHTED = ("conv", "conv_transpose", "linear")


def gain_and_shift(graph: Graph, node: Node) -> tuple[Tensor, Tensor]:
    """Batch norm as x * gain + shift, each (C,), in float64."""
    gamma, beta, mean, variance = (graph.tensors[name].double() for name in node.inputs[1:])
    gain = gamma / torch.sqrt(variance + node.attrs["epsilon"])
    return gain, beta - mean * gain


def scale_outputs(graph: Graph, node: Node, gain: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of a layer whose output is multiplied by gain (C,) and shifted."""
    weight = graph.weight(node).double()
    bias = graph.tensors[node.inputs[2]].double() if len(node.inputs) > 2 else 0.0
    if node.op == "conv_transpose":  # (in, out / groups, *kernel); groups split the outputs
        groups = node.attrs.get("groups", 1)
        parts = weight.reshape(groups, -1, *weight.shape[1:])
        factors = gain.reshape(groups, 1, -1, *[1] * (weight.dim() - 2))
        weight = (parts * factors).reshape(weight.shape)
    else:
        weight = weight * gain.reshape(-1, *[1] * (weight.dim() - 1))
    return weight, bias * gain + shift


def scale_inputs(
    graph: Graph, node: Node, gain: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor] | None:
    """Weight and bias of a layer whose input is multiplied by gain (C,) and shifted.

    None where that is not exact: a shift under zero padding, or a transposed convolution.
    """
    if node.op == "conv_transpose":
        return None
    if node.op == "conv" and bool((shift != 0).any()) and any(node.attrs["padding"]):
        return None
    weight = graph.weight(node).double()
    bias = graph.tensors[node.inputs[2]].double() if len(node.inputs) > 2 else 0.0
    groups = node.attrs.get("groups", 1)
    out, per_group = weight.shape[0], weight.shape[1]
    index = torch.arange(out) // (out // groups) * per_group
    columns = index[:, None] + torch.arange(per_group)  # (out, in / groups): the channel read
    spatial = [1] * (weight.dim() - 2)
    moved = (weight * shift[columns].reshape(out, per_group, *spatial)).flatten(1).sum(1)
    return weight * gain[columns].reshape(out, per_group, *spatial), bias + moved


def with_parameters(
    graph: Graph, node: Node, data: str, weight: Tensor, bias: Tensor
) -> tuple[Node, dict[str, Tensor]]:
    """The node on input `data` with new parameters, under names of its own."""
    dtype = graph.weight(node).dtype
    names = (f"{node.name}.folded_weight", f"{node.name}.folded_bias")
    tensors = dict(zip(names, (weight.to(dtype), bias.to(dtype)), strict=True))
    return replace(node, inputs=(data, *names)), tensors


def _pairs(graph: Graph) -> Iterator[tuple[Node, Node]]:
    for node in graph.nodes:
        reader = only_reader(graph, node)
        if reader is not None:
            yield node, reader


def _fold_one(graph: Graph) -> Graph | None:
    for node, reader in _pairs(graph):
        if node.op in _WEIGHTED and reader.op == "batch_norm":
            if node.op == "linear" and len(graph.shapes[node.name]) != 1:
                continue  # batch norm works on axis 1, the layer on the last
            new = scale_outputs(graph, node, *gain_and_shift(graph, reader))
            changed, tensors = with_parameters(graph, node, node.inputs[0], *new)
            return rebuild(
                graph,
                changed={node.name: (changed,), reader.name: ()},
                rewired={reader.name: node.name},
                tensors=tensors,
            )
        if node.op == "batch_norm" and reader.op in _WEIGHTED:
            if reader.op == "linear" and len(graph.shapes[node.name]) != 1:
                continue
            before = scale_inputs(graph, reader, *gain_and_shift(graph, node))
            if before is not None:
                changed, tensors = with_parameters(graph, reader, node.inputs[0], *before)
                return rebuild(
                    graph, changed={node.name: (), reader.name: (changed,)}, tensors=tensors
                )
    return None


def fold_batch_norm(graph: Graph) -> Graph:
    """Fold every batch norm that has a layer with weights directly before or behind it.

    One that has none (between a concatenation and a ReLU, say) stays: it is affine, and so exact
    in a spiking network too.
    """
    while (folded := _fold_one(graph)) is not None:
        graph = folded
    return graph
