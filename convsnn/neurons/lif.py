"""Leaky integrate-and-fire, as `convsnn.train.lif` trains it; decay 1 is integrate-and-fire.

    U(t) = V(t-1) + z(t)      s(t) = 1 if U(t) >= threshold else 0
    zero reset: V(t) = decay * U(t) * (1 - s(t))              LTMD equation 2, LT-SNN's code
    soft reset: V(t) = decay * U(t) - threshold * s(t)        what is taken away does not leak
    output = s(t) ("one") or threshold * s(t) ("threshold")

V is what the next step starts from. There is no gain on the current: z counts in full. Potentials,
currents and thresholds are in the units the network was trained in.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from convsnn.neurons.base import NEURONS, Keys, State, as_tensor, filled_like, sequence_like
from convsnn.neurons.fused import Fusable, Step


@NEURONS.register("lif")
@dataclass(frozen=True)
class LeakyIntegrateAndFire:
    """Leaky integrate-and-fire for trained networks; one spike a step, of size 1 by default.

    `threshold` and the initial `potential` broadcast to one sample's shape; `strict` asks for more
    than the threshold to fire.
    """

    threshold: Tensor | float
    potential: Tensor | float = 0.0
    decay: float = 0.5
    reset: Literal["zero", "soft"] = "zero"
    sends: Literal["one", "threshold"] = "one"
    strict: bool = False
    graded = False
    spikes_per_step = 1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.decay) and 0 <= self.decay <= 1):
            raise ValueError(f"decay lies between 0 and 1, not {self.decay}")

    def fusable(self) -> Fusable:
        """See `Neuron.fusable`."""
        threshold = torch.as_tensor(self.threshold)
        start, decay = as_tensor(self.potential, threshold), as_tensor(self.decay, threshold)
        step = _STEPS[self.reset, self.strict]
        unit = threshold if self.sends == "threshold" else None
        return Fusable(step, (start,), (threshold, decay), unit)

    def scan(
        self, currents: Tensor, state: State | None = None, *, keys: Keys | None = None
    ) -> tuple[Tensor, State]:
        """See `Neuron.scan`."""
        del keys  # nothing here is random
        threshold = as_tensor(self.threshold, currents)
        start = self.potential if state is None else state.potential
        potential = filled_like(start, currents[0])
        size = threshold if self.sends == "threshold" else torch.ones_like(threshold)
        out = sequence_like(currents)
        for step, current in enumerate(currents):
            potential += current
            fired = potential > threshold if self.strict else potential >= threshold
            torch.mul(fired, size, out=out[step])
            potential *= self.decay
            if self.reset == "zero":
                potential.masked_fill_(fired, 0.0)
            else:
                potential -= fired * threshold
        return out, State(potential, threshold)


def _fusable_step(reset: str, strict: bool) -> Step:
    def step(
        current: Tensor, _: Tensor, potential: Tensor, threshold: Tensor, decay: Tensor
    ) -> tuple[Tensor, ...]:
        potential = potential + current
        fired = potential > threshold if strict else potential >= threshold
        kept = potential * decay
        left = torch.where(fired, kept - threshold if reset == "soft" else 0.0, kept)
        return torch.where(fired, 1.0, 0.0), left

    return step


# made once: what is compiled is kept by the function itself
_STEPS = {
    (reset, strict): _fusable_step(reset, strict)
    for reset in ("zero", "soft")
    for strict in (False, True)
}
