"""Runs one layer on what neurons sent, all steps at once or on means over them."""

from collections.abc import Mapping

import torch
from torch import Tensor

from calibrate.stops import Layer
from convsnn.graph import Node
from convsnn.graph.ops import OPS, Role
from convsnn.neurons.base import sequence_like


def run_layer(
    layer: Layer,
    tensors: Mapping[str, Tensor],
    read: dict[str, Tensor],
    *,
    settled: bool = False,
    end: bool = False,
) -> dict[str, Tensor]:
    """Every value of the layer beside those it reads, which are those of steps, or their means.

    With `end` its last alone; the others are let go, out of `read` too, when nothing needs them.
    """
    values = read if end else dict(read)
    for place, node in enumerate(layer.nodes):
        data = [values[name] for name in node.inputs if name not in tensors]
        steps = max(len(value) for value in data)
        given = iter(v.expand(steps, *v.shape[1:]) for v in data)
        arguments = [tensors[n] if n in tensors else next(given) for n in node.inputs]
        running = node.role is Role.MAX_POOL and not node.attrs.get("each_step") and not settled
        del data, given
        values[node.name] = _apply(node, arguments, steps, set(tensors), pooled=running)
        if end:
            later = {name for other in layer.nodes[place + 1 :] for name in other.inputs}
            for name in values.keys() - later - {layer.end}:
                del values[name]
    return values


def _apply(
    node: Node, arguments: list[Tensor], steps: int, constant: set[str], *, pooled: bool
) -> Tensor:
    """Run an op on all steps at once; where `pooled`, as max-pooling does, on the running sum."""
    merged = [
        a if name in constant else (_summed(a) if pooled else a).flatten(0, 1)
        for name, a in zip(node.inputs, arguments, strict=True)
    ]
    value = OPS[node.op].run(*merged, **node.attrs).unflatten(0, (steps, -1))
    return torch.diff(value, dim=0, prepend=torch.zeros_like(value[:1])) if pooled else value


def _summed(values: Tensor) -> Tensor:
    """The running sum over the first axis; many times sooner than torch's own along it."""
    sums = sequence_like(values)
    sums[0] = values[0]
    for step in range(1, len(values)):
        torch.add(sums[step - 1], values[step], out=sums[step])
    return sums
