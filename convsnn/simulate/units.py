"""Which values of a network can be passed as numbers of spikes, and what one of them is worth.

Where the threshold is fixed, a neuron sends n x threshold. Pooling and whatever only moves values
act on n alike; the next weights take the thresholds in, input channel by input channel, so that
the inner loop moves whole numbers. Elsewhere the number is multiplied by its unit where it is read.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from convsnn.graph import Graph, Node
from convsnn.graph.ops import OPS

MOVES = ("reshape", "permute", "slice", "concat", "identity", "pad")
_POOLS = ("max_pool", "avg_pool", "adaptive_avg_pool", "mean")


def narrow(unit: Tensor, shape: Sequence[int]) -> Tensor:
    """`unit` with every axis along which it does not change shrunk to one; a scalar if none is."""
    unit = unit.expand(tuple(shape)) if unit.dim() < len(shape) else unit
    for axis in range(unit.dim()):
        first = unit.narrow(axis, 0, 1)
        if bool((unit == first).all()):
            unit = first
    return unit.reshape(()) if unit.numel() == 1 else unit.contiguous()


def passed_unit(graph: Graph, node: Node, units: Mapping[str, Tensor]) -> Tensor | None:
    """The unit of what a pooling or moving op passes on; None where it passes on no numbers."""
    inputs = graph.data_inputs(node)
    if not inputs or not all(name in units for name in inputs):
        return None
    return _passed_on(graph, node, [units[name] for name in inputs])


def _passed_on(graph: Graph, node: Node, units: Sequence[Tensor]) -> Tensor | None:
    if node.op in _POOLS:
        source = graph.shapes[graph.data_inputs(node)[0]]
        keeps = node.op != "mean" or (node.attrs.get("keepdim") and 1 not in node.attrs["dims"])
        unit = units[0]
        wide = unit.dim() > 0 and (unit.dim() != len(source) or unit.numel() != unit.shape[0])
        if wide or len(source) < 2:
            return None
        return unit if keeps or unit.dim() == 0 else None
    if node.op not in MOVES or (node.op == "pad" and not units[0].isfinite().all()):
        return None
    if len(units) == 1 and units[0].dim() == 0:
        return units[0]
    shapes = [graph.shapes[name] for name in graph.data_inputs(node)]
    whole = [u.expand(s)[None] for u, s in zip(units, shapes, strict=True)]
    moved = OPS[node.op].run(*whole, **node.attrs)[0]
    if node.op == "pad":  # what was added is zero in every unit
        moved = torch.where(moved == 0, torch.ones_like(moved), moved)
    return narrow(moved, graph.shapes[node.name])


def fold(node: Node, weight: Tensor, unit: Tensor) -> Tensor | None:
    """The weight of a convolution or fully connected layer with the unit of its input taken in.

    None where the unit changes along more than the axis that the weight sums over.
    """
    if unit.dim() == 0:
        return weight * unit
    if node.op == "linear" and unit.shape[-1] == unit.numel():
        return weight * unit.reshape(-1)
    if node.op == "conv" and unit.shape[0] == unit.numel():
        groups = node.attrs.get("groups", 1)
        each = unit.reshape(groups, -1).repeat_interleave(len(weight) // groups, dim=0)
        return weight * each.reshape(*each.shape, *[1] * (weight.dim() - 2))
    return None
