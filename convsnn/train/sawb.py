"""Weights of 4 or 8 bits by statistics-aware binning (SAWB, Choi et al. 2019), as LT-SNN has them.

    a = c1 std(w) - c2 mean|w|        n = 2^(bits - 1) - 1
    q(w) = round(clip(w, -a, a) n / a) a / n

One scale for the whole tensor, from its two first moments; the standard deviation is unbiased. The
gradient goes straight through the rounding and stops where a weight is clipped; a is a constant to
it. Use it as `torch.nn.utils.parametrize.register_parametrization(layer, "weight", Sawb(4))`.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from convsnn.errors import ConfigError

COEFFICIENTS = {4: (1 / 0.077, 1.013 / 0.077), 8: (1 / 0.027, 1.114 / 0.027)}  # c1, c2 by bits


def clip_bound(weight: Tensor, bits: int) -> Tensor:
    """The bound a of `weight`, a scalar.

    The fitted line falls to zero and below for weights that are nearly all of one size, and says
    nothing about a single one: where it would clip the mean size, the bound is the largest weight.
    """
    c1, c2 = _coefficients(bits)
    size = weight.detach().abs()
    if weight.numel() < 2:
        return size.amax()
    bound = c1 * weight.detach().std() - c2 * size.mean()
    return torch.where(bound > size.mean(), bound, size.amax())


class Sawb(nn.Module):
    """Rounds a weight to `bits` bits in the forward pass; ConfigError for other than 4 and 8."""

    def __init__(self, bits: int = 4) -> None:
        super().__init__()
        _coefficients(bits)
        self.bits = bits

    def forward(self, weight: Tensor) -> Tensor:
        """The rounded weight; one of zeros stays as it is."""
        rounded: Tensor = _Round.apply(
            weight, clip_bound(weight, self.bits), 2 ** (self.bits - 1) - 1
        )
        return rounded


def _coefficients(bits: int) -> tuple[float, float]:
    if bits not in COEFFICIENTS:
        raise ConfigError(f"SAWB knows no weights of {bits} bits", hint="use 4 or 8 bits")
    return COEFFICIENTS[bits]


class _Round(Function):
    """Clip and round to `levels` steps on either side of zero."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bound: Tensor, levels: int) -> Tensor:
        ctx.save_for_backward(weight.abs() <= bound)
        step = torch.where(bound > 0, bound / levels, 1.0)
        return (weight / step).round().clamp(-levels, levels) * step

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (inside,) = ctx.saved_tensors
        return gradient * inside, None, None
