"""The synaptic current of current-based neurons, Rouser equation 1.

    I(t) = a I(t-1) + x(t - d)      V(t) gets I(t - d)      with x what the spikes bring

The paper has d = 1, so that what arrives at step t reaches the potential at t + 2; lava-dl, the
code of its baseline, has d = 0. As the filter starts from rest, both delays together are the
currents moved by 2 d steps.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from convsnn.errors import ConfigError


class Synapse(nn.Module):
    """`forward` takes what arrives (T, B, ...) and gives what is added to the potentials.

    `decay` is what is kept of a current from step to step; `delay` is 0 or 1. ConfigError for
    others.
    """

    def __init__(self, decay: float, *, delay: int = 0) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ConfigError(
                f"a current_decay of {decay} cannot be used", hint="take one from 0 to below 1"
            )
        if delay not in (0, 1):
            raise ConfigError(f"a delay of {delay} cannot be used", hint="take 0 or 1")
        self.decay, self.delay = decay, delay

    def forward(self, arriving: Tensor) -> Tensor:
        """See the class; the same shape and type."""
        current: Tensor = _Filter.apply(arriving, self.decay)
        moved = min(2 * self.delay, len(current))
        if not moved:
            return current
        return torch.cat([torch.zeros_like(current[:moved]), current[: len(current) - moved]])


class _Filter(Function):
    """I(t) = a I(t-1) + x(t); backward the same from the end."""

    @staticmethod
    def forward(ctx: Any, arriving: Tensor, decay: float) -> Tensor:
        ctx.decay = decay
        return _filtered(arriving, decay, range(len(arriving)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _filtered(gradient, ctx.decay, range(len(gradient) - 1, -1, -1)), None


def _filtered(values: Tensor, decay: float, order: range) -> Tensor:
    out = torch.empty_like(values)
    before: Tensor | None = None
    for step in order:
        if before is None:
            out[step] = values[step]
        else:
            torch.add(values[step], before, alpha=decay, out=out[step])
        before = out[step]
    return out
