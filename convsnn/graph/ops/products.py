"""Products of two values that both change over time: attention, gates, bilinear layers.

A spiking network sums them up by their increments, of spikes a and b at step t,

    P(t) = P(t-1) + a S_B(t-1) + S_A(t-1) b + a b = S_A(t) S_B(t)

and sends P(t) / t - P(t-1) / (t-1), which adds up to T times the product of the means, exactly at
every T. Where layers fire one after another that is the product of the finished means.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from convsnn.graph.ops.base import Arithmetic, Role, Shape, op


def _matmul_count(inputs: Sequence[Shape], output: Shape, attrs: Mapping[str, Any]) -> Arithmetic:
    del attrs
    return Arithmetic(additions=1, multiplications=1) * (inputs[0][-1] * prod(output))


def _multiply_count(inputs: Sequence[Shape], output: Shape, attrs: Mapping[str, Any]) -> Arithmetic:
    del inputs, attrs
    return Arithmetic(multiplications=1) * prod(output)


@op("matmul", Role.PRODUCT, dense=_matmul_count)
def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Matrix product over the last two axes, the others broadcast."""
    return torch.matmul(a, b)


@op("multiply", Role.PRODUCT, dense=_multiply_count)
def multiply(a: Tensor, b: Tensor) -> Tensor:
    """a * b, element by element, broadcast."""
    return a * b
