"""Fully connected layers, and convolutions that are better run as one.

Where an image has no more positions than the kernel has taps, most taps meet padding: the matrix
from every input to every output then holds no more products, and matrices run at full speed.
"""

from collections.abc import Callable, Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from convsnn.graph import Node
from convsnn.graph.ops import OPS

Kernel = Callable[[Tensor], Tensor]

LARGEST = 1 << 24  # elements of a matrix that replaces a convolution


def as_matrix(node: Node, weight: Tensor, shape: Sequence[int]) -> tuple[Tensor, list[int]] | None:
    """What a layer does to samples of `shape` as (outputs, inputs), channels innermost in both, and
    the shape (*spatial, channels) of an output image; None where that would be more work."""
    if node.op == "linear":
        return weight, []
    positions, taps = prod(shape[1:]), prod(weight.shape[2:])
    if node.op != "conv" or positions * node.attrs.get("groups", 1) > taps:
        return None
    if positions * shape[0] * positions * len(weight) > LARGEST:
        return None
    inputs = prod(shape)
    each = torch.eye(inputs, dtype=weight.dtype, device=weight.device)
    images = each.reshape(inputs, *shape[1:], shape[0]).movedim(-1, 1)
    out = OPS[node.op].run(images, weight, **node.attrs).movedim(1, -1)
    return out.reshape(inputs, -1).T.contiguous(), list(out.shape[1:])


def on_images(run: Kernel, out: Sequence[int]) -> Kernel:
    """`run`, which acts on rows, on images (N, channels, *spatial) where `as_matrix` gave `out`."""
    if not out:
        return run
    return lambda x: run(x.movedim(1, -1).flatten(1)).reshape(-1, *out).movedim(-1, 1)


def float_linear(weight: Tensor, bias: Tensor | None) -> Kernel:
    """A fully connected layer over the last axis; float32 is packed once where it can be."""
    packs = hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.backends.mkldnn.is_available()
    if weight.dtype is not torch.float32 or weight.device.type != "cpu" or not packs:
        return lambda x: F.linear(x, weight, bias)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)

    def run(x: Tensor) -> Tensor:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
        return out

    return run


def integer_linear(whole: Tensor) -> Kernel:
    """A fully connected layer of uint8 with whole-number weights; exact, the result in float32."""
    packed = torch.ops.onednn.qlinear_prepack(whole.to(torch.int8).contiguous(), None)
    ones, zeros = torch.ones(len(whole)), torch.zeros(len(whole), dtype=torch.int64)

    def run(x: Tensor) -> Tensor:
        out: Tensor = torch.ops.onednn.qlinear_pointwise(
            x, 1.0, 0, packed, ones, zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return out

    return run
