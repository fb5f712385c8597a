"""Layers with weights in every precision: float32, bfloat16, and 8-bit weights on whole numbers.

Weights on a grid of b bits are symmetric and scaled per output channel,
w = scale * q with q in [-(2^(b-1) - 1), 2^(b-1) - 1] (Jacob et al. 2018, "Quantization and Training
of Neural Networks for Efficient Integer-Arithmetic-Only Inference", per channel and symmetric).
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from convsnn.graph import Node
from convsnn.graph.ops import OPS
from convsnn.graph.ops.weighted import split_padding
from convsnn.simulate import dense
from convsnn.simulate.dense import Kernel
from convsnn.simulate.engine import Engine


def grid(weight: Tensor, bits: int) -> Tensor:
    """The step between neighbouring weights of each output channel, (out,)."""
    largest = weight.flatten(1).abs().amax(1)
    return torch.where(largest > 0, largest, torch.ones_like(largest)) / (2 ** (bits - 1) - 1)


def on_grid(weight: Tensor, step: Tensor, bits: int) -> Tensor:
    """Whole numbers q with weight ~ step * q, in the weight's float type."""
    most = 2 ** (bits - 1) - 1
    return torch.round(weight / channelwise(step, weight.dim())).clamp(-most, most)


def channelwise(values: Tensor, dims: int) -> Tensor:
    """(out,) so that it multiplies a weight of `dims` axes."""
    return values.reshape(-1, *[1] * (dims - 1))


def channels_last(x: Tensor) -> Tensor:
    """Images with the channels innermost, which convolutions run fastest on."""
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def float_kernel(
    node: Node,
    weight: Tensor,
    bias: Tensor | None,
    dtype: torch.dtype,
    shape: Sequence[int] | None,
) -> Kernel:
    """The layer in a float type, packed for samples of `shape`, or as its op runs it (None)."""
    weight, bias = channels_last(weight.to(dtype)), None if bias is None else bias.to(dtype)
    found = None if shape is None else dense.as_matrix(node, weight, shape)
    if found is not None:
        matrix, out = found
        each = None if bias is None else bias.repeat(len(matrix) // len(bias))
        run_all = dense.on_images(dense.float_linear(matrix, each), out)
        return lambda x: run_all(x.to(dtype))
    rest = () if bias is None else (bias,)
    run, attrs = OPS[node.op].run, node.attrs
    return lambda x: run(x.to(dtype), weight, *rest, **attrs)


def int8_available() -> bool:
    """Whether torch was built with integer convolutions for this processor."""
    kernels = all(hasattr(torch.ops.onednn, f"q{op}_pointwise") for op in ("conv", "linear"))
    return kernels and torch.backends.mkldnn.is_available()


@cache
def most_spikes() -> int:
    """The most spikes a step, one neuron to the next, that integer layers here add up exactly.

    Processors without 8-bit dot products add products in pairs into 16 bits, which hold two of
    2 x 127 x 128 and no more; where a pair of 255 x 127 comes out right, all of uint8 does.
    """
    if not int8_available():
        return 255
    largest = torch.full((1, 16, 4, 4), 255, dtype=torch.uint8)
    whole = torch.full((16, 16, 3, 3), 127.0)
    attrs = {"stride": [1, 1], "padding": [0] * 4, "dilation": [1, 1]}
    layer, matrix = integer_convolution(whole, attrs), dense.integer_linear(whole[:, :, 0, 0])
    sums = layer(largest) / 9, matrix(largest[:, :, 0, 0])
    exact = all(bool((found == 16 * 255 * 127).all()) for found in sums)
    return 255 if exact else 128


def takes_int8(node: Node, weight: Tensor) -> bool:
    """Whether the layer has an integer kernel: 2-d convolutions and fully connected layers."""
    here = int8_available() and weight.device.type == "cpu"
    return here and (node.op == "linear" or (node.op == "conv" and weight.dim() == 4))


def integer_convolution(weight: Tensor, attrs: Mapping[str, Any]) -> Kernel:
    """2-d convolution of uint8 with whole-number weights; exact, the result in float32."""
    symmetric, pads = split_padding(attrs["padding"])
    stride, dilation = list(attrs["stride"]), list(attrs["dilation"])
    groups = attrs.get("groups", 1)
    ones, zeros = torch.ones(len(weight)), torch.zeros(len(weight), dtype=torch.int32)
    packed = torch.ops.onednn.qconv_prepack(
        weight.to(torch.int8).contiguous(), ones, 1.0, 0, stride, symmetric, dilation, groups, None
    )

    def run(x: Tensor) -> Tensor:
        x = channels_last(x if pads is None else F.pad(x, pads))
        out: Tensor = torch.ops.onednn.qconv_pointwise(
            x, 1.0, 0, packed, ones, zeros, None, stride, symmetric, dilation, groups,
            1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        return out

    return run


def kernel(
    node: Node,
    weight: Tensor,
    bias: Tensor | None,
    *,
    engine: Engine,
    is_bytes: bool,
    shape: Sequence[int] | None,
) -> Kernel:
    """The layer in the engine's precision, its result a real value; `shape` as `float_kernel`."""
    if engine.bits is not None:
        outward = weight.movedim(1, 0) if node.op == "conv_transpose" else weight
        step = grid(outward, engine.bits)
        whole = on_grid(outward, step, engine.bits)
        if (
            shape is not None
            and engine.precision == "int8"
            and is_bytes
            and takes_int8(node, weight)
        ):
            return _rescaled(integer_kernel(node, whole, shape), node, step, bias)
        weight = whole * channelwise(step, weight.dim())
        weight = weight.movedim(1, 0) if node.op == "conv_transpose" else weight
    low = engine.precision == "bfloat16"
    return float_kernel(node, weight, bias, torch.bfloat16 if low else weight.dtype, shape)


def _rescaled(run: Kernel, node: Node, step: Tensor, bias: Tensor | None) -> Kernel:
    dims = 4 if node.op == "conv" else 1
    scale = step if dims == 1 else channelwise(step, dims - 1)
    offset = None if bias is None else bias.reshape(scale.shape)
    return lambda x: run(x) * scale if offset is None else run(x) * scale + offset


def integer_kernel(node: Node, whole: Tensor, shape: Sequence[int]) -> Kernel:
    """The layer on numbers of spikes, uint8, with whole-number weights; the result in float32."""
    found = dense.as_matrix(node, whole, shape)
    if found is None:
        return integer_convolution(whole, node.attrs)
    matrix, out = found
    return dense.on_images(dense.integer_linear(matrix), out)
