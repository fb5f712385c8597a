"""Integrate-and-fire, seeds of all rate-coded conversion (Rueckauer et al. 2017, equation 3).

    V(t) = V(t-1) + z(t)      s(t) = 1 if V(t) >= threshold else 0      output = threshold * s(t)
    soft reset: V(t) -= threshold * s(t)          zero reset: V(t) = 0 where s(t) = 1

Potentials, currents and thresholds are in units of the source network's activations.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from convsnn.neurons.base import (
    NEURONS,
    Keys,
    State,
    as_tensor,
    filled_like,
    levels,
    sequence_like,
)
from convsnn.neurons.fused import Fusable


@NEURONS.register("if")
@dataclass(frozen=True)
class IntegrateAndFire:
    """Plain integrate-and-fire; at most one spike a step; reset by subtraction or to zero.

    `threshold` and the initial `potential` broadcast to one sample's shape.
    """

    threshold: Tensor | float
    potential: Tensor | float = 0.0
    reset: Annotated[
        Literal["soft", "zero"],
        "what a spike does to the potential: subtract the threshold, or set it to zero",
    ] = "soft"
    graded = False
    spikes_per_step = 1

    def fusable(self) -> Fusable:
        """See `convsnn.neurons.fused`."""
        threshold = torch.as_tensor(self.threshold)
        step = _soft if self.reset == "soft" else _zero
        return Fusable(step, (as_tensor(self.potential, threshold),), (threshold,), threshold)

    def scan(
        self, currents: Tensor, state: State | None = None, *, keys: Keys | None = None
    ) -> tuple[Tensor, State]:
        """See `Neuron.scan`."""
        del keys  # nothing here is random
        threshold = as_tensor(self.threshold, currents)
        start = self.potential if state is None else state.potential
        potential = filled_like(start, currents[0])
        out = sequence_like(currents)
        for step, current in enumerate(currents):
            potential += current
            # compared into floats: a product with truth values takes many times longer
            torch.ge(potential, threshold, out=out[step]).mul_(threshold)
            if self.reset == "soft":
                potential -= out[step]
            else:
                potential.masked_fill_(out[step] != 0, 0.0)
        return out, State(potential, threshold)

    def count(self, total: Tensor, steps: int) -> Tensor:
        """See `Patient.count`; with the reset by subtraction, for the other throws current away."""
        charge = total + as_tensor(self.potential, total)
        return levels(charge, as_tensor(self.threshold, total)).clamp_(0, steps)


def _soft(current: Tensor, _: Tensor, potential: Tensor, threshold: Tensor) -> tuple[Tensor, ...]:
    potential = potential + current
    fired = potential >= threshold
    return torch.where(fired, 1.0, 0.0), torch.where(fired, potential - threshold, potential)


def _zero(current: Tensor, _: Tensor, potential: Tensor, threshold: Tensor) -> tuple[Tensor, ...]:
    potential = potential + current
    fired = potential >= threshold
    return torch.where(fired, 1.0, 0.0), torch.where(fired, 0.0, potential)
