"""The shape of every value, found by running the ops on meta tensors."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from convsnn.errors import LoadError
from convsnn.graph.node import Node
from convsnn.graph.ops import OPS, Role

_BATCH = 7  # no network's constants have that many rows by accident


def sample_shapes(
    nodes: Sequence[Node], tensors: Mapping[str, Tensor]
) -> dict[str, tuple[int, ...]]:
    """Shape of one sample of every node; LoadError where a layer does not fit, or mixes samples."""
    dtype = next((t.dtype for t in tensors.values()), torch.float32)
    meta = {name: tensor.to("meta") for name, tensor in tensors.items()}
    values: dict[str, Tensor] = {}
    for node in nodes:
        if node.role is Role.INPUT:
            values[node.name] = torch.empty(
                _BATCH, *node.attrs["shape"], dtype=dtype, device="meta"
            )
            continue
        arguments = [values[name] if name in values else meta[name] for name in node.inputs]
        try:
            values[node.name] = OPS[node.op].run(*arguments, **node.attrs)
            _check_vectors(node, arguments[1:], values[node.name])
        except (RuntimeError, TypeError, IndexError, ValueError, KeyError) as error:
            raise LoadError(f"layer '{node.name}' ({node.op}) does not fit: {error}") from None
        if values[node.name].shape[:1] != (_BATCH,):
            raise LoadError(f"layer '{node.name}' ({node.op}) mixes the samples of a batch")
    return {name: tuple(value.shape[1:]) for name, value in values.items()}


def _check_vectors(node: Node, constants: Sequence[Tensor], output: Tensor) -> None:
    """Raise ValueError for what has not one value for each channel: meta tensors do not show it."""
    first = {"conv": 1, "conv_transpose": 1, "batch_norm": 0}.get(node.op)
    for vector in constants[first:] if first is not None else ():
        if tuple(vector.shape) != (output.shape[1],):
            raise ValueError(
                f"a vector of shape {tuple(vector.shape)} for {output.shape[1]} channels"
            )
