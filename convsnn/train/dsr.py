"""DSR: a threshold trained on time means instead of steps (Meng et al. 2022; LT-SNN equation 7).

    m(t) += x(t)        o(t) = V [m(t) >= alpha V]        m(t) -= o(t)

Over many steps the mean of o is clip(mean of x, 0, V), and backward it is taken for exactly that:

    dL/dx(t) = [0 <= mean x <= V] sum g / T         dL/dV = sum over neurons of [mean x > V] sum g

The forward pass is integrate-and-fire with threshold V started from (1 - alpha) V, which is how it
is run here, so that nothing differs from the neuron `if` of the simulation.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from convsnn.train.thresholds import THRESHOLDS, Threshold, constant


@THRESHOLDS.register("dsr")
class Dsr(Threshold):
    """DSR: the threshold learns from the neurons that are driven above it.

    `initial` and the least value `floor` count in units; `alpha` is the part of the threshold that
    a neuron at rest is away from firing. Needs neurons without leak, soft reset and spikes of the
    threshold's size.
    """

    def __init__(
        self,
        initial: float = 1.0,
        *,
        alpha: float = 0.5,
        floor: float = 0.01,
        unit: Tensor | float | None = None,
        shape: tuple[int, ...] = (),
    ) -> None:
        super().__init__(unit=unit, floor=floor)
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha lies between 0 and 1, not {alpha}")
        if not 0 < floor < math.inf:
            raise ValueError(f"floor must be positive and finite, not {floor}")
        self.m = nn.Parameter(constant(initial, shape))
        self.alpha = alpha

    def number(self) -> Tensor:
        """See `Threshold.number`."""
        return self.m

    def start(self) -> Tensor:
        """(1 - alpha) V, see above; no gradient."""
        return (1 - self.alpha) * self.value().detach()

    def scan(self, currents: Tensor, start: Tensor, *, strict: bool = False) -> Tensor:
        """What neurons that start from `start` send, V x spike, for all `currents` (T, B, ...)."""
        out: Tensor = _Means.apply(currents, start, self.value(), strict)
        return out


class _Means(Function):
    """Integrate-and-fire forward, the clipped mean backward."""

    @staticmethod
    def forward(ctx: Any, currents: Tensor, start: Tensor, value: Tensor, strict: bool) -> Tensor:
        ctx.save_for_backward(currents.mean(0), value)
        ctx.steps, ctx.start_shape = len(currents), start.shape
        potential = start.expand(currents.shape[1:]).clone()
        out = torch.empty_like(currents)
        for step, current in enumerate(currents):
            potential += current
            fired = potential > value if strict else potential >= value
            torch.mul(fired, value, out=out[step])
            potential -= out[step]
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        mean, value = ctx.saved_tensors
        total = gradient.sum(0)
        inside = total * ((mean >= 0) & (mean <= value)) / ctx.steps
        above = (total * (mean > value)).sum_to_size(value.shape)
        return inside.expand_as(gradient), inside.sum_to_size(ctx.start_shape), above, None
