"""A neuron with spikes of both signs that follows the activation of its accumulated current.

    S(t) = S(t-1) + z(t)        V(t) = f_t(S(t)) + V(0) - sent(t-1)
    s(t) = 1 if V(t) >= threshold, -1 if V(t) < 0, else 0          output = threshold * s(t)
    f_t(S) = t f(S / t):   slope * S for S < 0, min(S, t * ceiling) above

Whatever it can keep up with, it has sent threshold * floor((f_t(S(t)) + V(0)) / threshold) after t
steps; what was sent too early is taken back by negative spikes. With a slope this is leaky ReLU and
PReLU (Kim et al. 2020, "Spiking-YOLO", send a negative spike at -threshold / slope instead, which
loses what a mixed current had left over). With slope 0 it is the bipolar neuron with a memory of
what it sent (ST-BIF; You et al. 2024, "SpikeZIP-TF"), for plain ReLU. f is applied to the mean
current, so a ceiling c bounds the sum by t c and not by c. Potentials, currents and thresholds are
in units of the source network's activations.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from convsnn.neurons.base import (
    NEURONS,
    Keys,
    as_tensor,
    filled_like,
    levels,
    sequence_like,
)
from convsnn.neurons.following import FollowingState, at_rest, followed
from convsnn.neurons.fused import Fusable


@NEURONS.register("signed")
@dataclass(frozen=True)
class Signed:
    """Spikes of both signs: negative activations (leaky ReLU), and wrong spikes taken back.

    `threshold`, the initial `potential`, `slope` and `ceiling` broadcast to one sample's shape;
    the last two come from the network's activation (0 and none for ReLU).
    """

    threshold: Tensor | float
    potential: Tensor | float = 0.0
    slope: Tensor | None = None
    ceiling: Tensor | None = None
    graded = False
    spikes_per_step = 1

    def fusable(self) -> Fusable:
        """See `convsnn.neurons.fused`; what was sent is counted in thresholds."""
        threshold = torch.as_tensor(self.threshold)
        start = as_tensor(self.potential, threshold)
        zero = torch.zeros((), dtype=threshold.dtype, device=threshold.device)
        ceiling = as_tensor(math.inf if self.ceiling is None else self.ceiling, threshold)
        slope = zero if self.slope is None else as_tensor(self.slope, threshold)
        step = _rectified if self.slope is None else _sloped
        return Fusable(step, (zero, zero), (threshold, start, slope, ceiling), threshold, True)

    def scan(
        self, currents: Tensor, state: FollowingState | None = None, *, keys: Keys | None = None
    ) -> tuple[Tensor, FollowingState]:
        """See `Neuron.scan`."""
        del keys  # nothing here is random
        threshold = as_tensor(self.threshold, currents)
        start = filled_like(self.potential, currents[0])
        if state is None:
            state = at_rest(FollowingState, start, threshold)
        potential, total, sent = state.potential, state.total.clone(), state.sent.clone()
        out = sequence_like(currents)
        for step, current in enumerate(currents):
            total += current
            potential = self._target(total, state.step + step + 1) + start - sent
            fired = (potential >= threshold).to(out.dtype)
            below = potential < 0
            if self.slope is None:
                below &= sent > 0  # a potential below zero is no reason to go below zero
            torch.mul(fired - below.to(out.dtype), threshold, out=out[step])
            sent += out[step]
            potential = potential - out[step]
        return out, FollowingState(potential, threshold, total, sent, state.step + len(currents))

    def count(self, total: Tensor, steps: int) -> Tensor:
        """See `Patient.count`: what is to be sent after the last step, with either sign."""
        charge = self._target(total, steps) + as_tensor(self.potential, total)
        fewest = 0 if self.slope is None else -steps
        return levels(charge, as_tensor(self.threshold, total)).clamp_(fewest, steps)

    def _target(self, total: Tensor, step: int) -> Tensor:
        """f_t of the accumulated current."""
        return followed(total, step, slope=self.slope, ceiling=self.ceiling)


def _rectified(
    current: Tensor, time: Tensor, total: Tensor, sent: Tensor, threshold: Tensor, *rest: Tensor
) -> tuple[Tensor, ...]:
    start, _, ceiling = rest
    total = total + current
    potential = torch.minimum(total.clamp(min=0), ceiling * time) + start - sent * threshold
    fired = torch.where(potential >= threshold, 1.0, 0.0)
    spikes = fired - torch.where((potential < 0) & (sent > 0), 1.0, 0.0)
    return spikes, total, sent + spikes


def _sloped(
    current: Tensor, time: Tensor, total: Tensor, sent: Tensor, threshold: Tensor, *rest: Tensor
) -> tuple[Tensor, ...]:
    start, slope, ceiling = rest
    total = total + current
    value = torch.minimum(torch.where(total > 0, total, total * slope), ceiling * time)
    potential = value + start - sent * threshold
    fired = torch.where(potential >= threshold, 1.0, 0.0)
    spikes = fired - torch.where(potential < 0, 1.0, 0.0)
    return spikes, total, sent + spikes
