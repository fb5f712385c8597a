"""Neurons that fire once all their current has come, to be trained through: a quantiser.

With z the mean current of T steps, V the threshold and V(0) the initial potential, what is sent is
on average

    y = V n / T,      n = clip(floor(u), 0, T),      u = (T z + V(0)) / V

Backward floor counts as the identity (straight through), so that with g the gradient of y

    dL/dz = g [0 <= u <= T]      dL/dV(0) = dL/dz / T      dL/dV = g (n - u) / T within, g above

The threshold learns from all of this through whatever number its rule holds (see `thresholds`):
freely, as in LT-SNN, or as a tanh, as in LTMD. The windows of these rules belong to single spikes
and are not used (learned step size quantisation, Esser et al. 2020, has this gradient).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from convsnn.neurons.base import levels
from convsnn.train.lif import LIF, Carry
from convsnn.train.thresholds import Threshold


class Quantiser(LIF):
    """The neurons of one site that take in `steps` steps before they fire.

    `forward` takes mean currents (1, B, ...) and gives the mean of what is sent.
    """

    def __init__(self, threshold: Threshold, *, potential: nn.Parameter) -> None:
        super().__init__(threshold, reset="soft", sends="threshold", potential=potential)
        self.steps = 1

    def scan(self, currents: Tensor, carry: Carry | None = None) -> tuple[Tensor, Carry]:
        """See the class; there is nothing to carry."""
        del carry
        wide = torch.promote_types(currents.dtype, self.threshold.unit.dtype)
        value = self.threshold.value()
        sent: Tensor = _Quantise.apply(currents.to(wide), self.start(), value, self.steps)
        self.last_rate = (sent.detach() / value.detach()).mean()
        return sent.to(currents.dtype), Carry(torch.zeros_like(sent[0]), sent[-1])


class _Quantise(Function):
    @staticmethod
    def forward(ctx: Any, mean: Tensor, start: Tensor, value: Tensor, steps: int) -> Tensor:
        charge = mean * steps + start
        counts = levels(charge, value).clamp_(0, steps)
        ctx.save_for_backward(charge, value, counts)
        ctx.steps, ctx.start_shape = steps, start.shape
        return counts * value / steps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        charge, value, counts = ctx.saved_tensors
        place = charge / value
        inside = (place >= 0) & (place <= ctx.steps)
        within = gradient * inside
        start = (within / ctx.steps).sum_to_size(ctx.start_shape)
        slope = torch.where(inside, counts - place, counts) / ctx.steps
        return within, start, (gradient * slope).sum_to_size(value.shape), None
