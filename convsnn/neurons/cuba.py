"""Current-based leaky integrate-and-fire, as Rouser and its baseline SLAYER train it.

    I(t) = current I(t-1) + z(t - delay)      U(t) = V(t-1) + I(t - delay)
    s(t) = 1 if U(t) >= threshold else 0
    soft reset: V(t) = decay U(t) - threshold s(t)       Rouser equations 1 to 3, delay 1
    zero reset: V(t) = decay U(t) (1 - s(t))             lava-dl, delay 0
    output = s(t) ("one") or threshold s(t) ("threshold")

With a delay of 1 what arrives at step t reaches the potential at t + 2. Potentials, currents and
thresholds are in the units the network was trained in.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Literal

import torch
from torch import Tensor

from convsnn.neurons.base import NEURONS, Keys, State, as_tensor, filled_like, sequence_like
from convsnn.neurons.fused import Fusable, Step


@dataclass(frozen=True)
class Charged(State):
    """Beside the potential, the synaptic current and what arrived in the last step."""

    current: Tensor
    waiting: Tensor


@NEURONS.register("cuba")
@dataclass(frozen=True)
class CurrentBased:
    """Current-based leaky integrate-and-fire for trained networks (Rouser, SLAYER).

    `threshold` and the initial `potential` broadcast to one sample's shape.
    """

    threshold: Tensor | float
    potential: Tensor | float = 0.0
    decay: Annotated[float, "share of the potential that is kept from step to step, 0 to 1"] = 0.97
    current: Annotated[float, "share of the current that is kept from step to step, 0 to 1"] = 0.75
    delay: Annotated[
        int, "steps from a spike to the current, and again from there to the potential: 0 or 1"
    ] = 1
    reset: Annotated[
        Literal["zero", "soft"],
        "what a spike does to the potential: set it to zero, or subtract the threshold",
    ] = "soft"
    sends: Annotated[
        Literal["one", "threshold"], "size of a spike: 1, or the threshold in units of activations"
    ] = "one"
    strict: Annotated[
        bool, "whether the potential must exceed the threshold to fire, not only reach it"
    ] = False
    graded = False
    spikes_per_step = 1

    def __post_init__(self) -> None:
        for name, value in (("decay", self.decay), ("current", self.current)):
            if not (math.isfinite(value) and 0 <= value <= 1):
                raise ValueError(f"{name} lies between 0 and 1, not {value}")
        if self.delay not in (0, 1):
            raise ValueError(f"delay is 0 or 1, not {self.delay}")

    def fusable(self) -> Fusable:
        """See `convsnn.neurons.fused`."""
        threshold = torch.as_tensor(self.threshold)
        start = as_tensor(self.potential, threshold)
        rest = torch.zeros_like(start)
        kept = as_tensor(self.decay, threshold), as_tensor(self.current, threshold)
        unit = threshold if self.sends == "threshold" else None
        step = _step(self.reset == "soft", self.delay, self.strict)
        return Fusable(step, (start, rest, rest), (threshold, *kept), unit)

    def scan(
        self, currents: Tensor, state: Charged | None = None, *, keys: Keys | None = None
    ) -> tuple[Tensor, Charged]:
        """See `Neuron.scan`."""
        del keys  # nothing here is random
        threshold = as_tensor(self.threshold, currents)
        decay, kept = as_tensor(self.decay, currents), as_tensor(self.current, currents)
        if state is None:
            rest = torch.zeros_like(currents[0])
            state = Charged(filled_like(self.potential, currents[0]), threshold, rest, rest)
        size = threshold if self.sends == "threshold" else torch.ones_like(threshold)
        step = _step(self.reset == "soft", self.delay, self.strict)
        held = state.potential, state.current, state.waiting
        out = sequence_like(currents)
        for place, arriving in enumerate(currents):
            fired, *after = step(arriving, threshold, *held, threshold, decay, kept)
            held = after[0], after[1], after[2]
            torch.mul(fired, size, out=out[place])
        potential, current, waiting = (part.clone() for part in held)
        return out, Charged(potential, threshold, current, waiting)


@cache  # what is compiled is kept by the function itself
def _step(soft: bool, delay: int, strict: bool) -> Step:
    def step(
        arriving: Tensor,
        _: Tensor,
        potential: Tensor,
        current: Tensor,
        waiting: Tensor,
        threshold: Tensor,
        decay: Tensor,
        kept: Tensor,
    ) -> tuple[Tensor, ...]:
        after = current * kept + (waiting if delay else arriving)
        potential = potential + (current if delay else after)
        fired = potential > threshold if strict else potential >= threshold
        left = potential * decay
        left = torch.where(fired, left - threshold if soft else 0.0, left)
        return torch.where(fired, 1.0, 0.0).to(arriving.dtype), left, after, arriving

    return step
