"""Weights of one bit, and which rounding belongs to how many bits.

    q(w) = 1 where w >= 0, else -1        dL/dw = dL/dq, straight through and nowhere cut

(threshold annealing, section 2.2 and the authors' code; biases and batch norm stay as they are.)
Use it as `torch.nn.utils.parametrize.register_parametrization(layer, "weight", Sign())`.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from convsnn.errors import ConfigError
from convsnn.train.sawb import COEFFICIENTS, Sawb


class Sign(nn.Module):
    """Gives the signs of a weight, that of 0 being 1."""

    bits = 1

    def forward(self, weight: Tensor) -> Tensor:
        """The weight as -1 and 1."""
        signs: Tensor = _Signs.apply(weight)
        return signs


class _Signs(Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        del ctx
        return torch.where(weight >= 0, 1.0, -1.0).to(weight.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        del ctx
        return gradient


def rounding(bits: int) -> nn.Module:
    """What rounds weights to so many bits; ConfigError where nothing does."""
    if bits == 1:
        return Sign()
    if bits not in COEFFICIENTS:
        raise ConfigError(f"there are no weights of {bits} bits", hint="use 1, 4 or 8 bits")
    return Sawb(bits)
