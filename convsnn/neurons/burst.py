"""Integrate-and-fire with bursts (Li and Zeng 2022): up to Gamma spikes in one step.

    V(t) = V(t-1) + z(t)      s(t) = clip(floor(V(t) / threshold), 0, Gamma)
    output = threshold * s(t)      V(t) -= threshold * s(t)

What would have waited for later steps leaves at once, so the residual potential stays below the
threshold as long as the current stays below Gamma thresholds. Gamma = 1 is integrate-and-fire.
Potentials, currents and thresholds are in units of the source network's activations.
"""

from dataclasses import dataclass
from typing import Annotated

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


@NEURONS.register("burst")
@dataclass(frozen=True)
class Burst:
    """Integrate-and-fire that sends up to `gamma` spikes a step; soft reset.

    `threshold` and the initial `potential` broadcast to one sample's shape.
    """

    threshold: Tensor | float
    potential: Tensor | float = 0.0
    gamma: Annotated[int, "most spikes that a neuron sends in one time step"] = 5
    graded = True

    @property
    def spikes_per_step(self) -> int:
        """Gamma."""
        return self.gamma

    def __post_init__(self) -> None:
        if self.gamma < 1:
            raise ValueError(f"gamma must be at least 1, not {self.gamma}")

    def fusable(self) -> Fusable:
        """See `convsnn.neurons.fused`."""
        threshold = torch.as_tensor(self.threshold)
        most = torch.tensor(float(self.gamma), device=threshold.device)
        start = as_tensor(self.potential, threshold)
        return Fusable(_step, (start,), (threshold, most), threshold)

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
            spikes = levels(potential, threshold).clamp_(0, self.gamma)
            torch.mul(spikes, threshold, out=out[step])
            potential -= out[step]
        return out, State(potential, threshold)

    def count(self, total: Tensor, steps: int) -> Tensor:
        """See `Patient.count`."""
        charge = total + as_tensor(self.potential, total)
        return levels(charge, as_tensor(self.threshold, total)).clamp_(0, steps * self.gamma)


def _step(
    current: Tensor, _: Tensor, potential: Tensor, threshold: Tensor, most: Tensor
) -> tuple[Tensor, ...]:
    potential = potential + current
    spikes = torch.floor(potential / threshold)
    spikes = spikes - torch.where(spikes * threshold > potential, 1.0, 0.0)
    spikes = torch.minimum(spikes.clamp(min=0), most)
    return spikes, potential - spikes * threshold
