"""Temporal-switch coding (Han and Roy 2020), a reconstruction: two spikes whose gap is the value.

    I(t) = I(t-1) + z(t) - b          V(t) = V(t-1) + I(t)          V(0) = window * b
    gap = floor(window * clip(V / (window * threshold), 0, 1) + 1/2)   at step 1 + turn * window
    s(t) = 1 there, and -1 `gap` steps later (none where gap = 0)   output = threshold * s(t)

The first spike of a pair switches a current on in every neuron behind it and the second one off, so
that V grows by weight * threshold * gap: each synapse adds twice, whatever the value. The bias b is
the current of the first step, in which nothing is sent; it acts for one window. After window steps
of one input V / window is the pre-activation of the source network, and threshold * gap / window
its activation, rounded to one of window + 1 levels. The authors' code is not public and their text
leaves the timing open: what is written here is ours, and no number of theirs is claimed.
Potentials, currents and thresholds are in units of the source network's activations.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from convsnn.neurons.base import NEURONS, Keys, State, as_tensor, filled_like, sequence_like


@dataclass(frozen=True)
class SwitchState(State):
    """Beside potential and threshold, the current that is switched on, the bias, the gap once it is
    decided, all (B, ...), and the steps so far."""

    current: Tensor
    bias: Tensor
    gap: Tensor
    step: int


@NEURONS.register("tsc")
@dataclass(frozen=True)
class TemporalSwitch:
    """Temporal-switch coding, a reconstruction: a spike and its negative, the gap is the value.

    `threshold` and the initial `potential` broadcast to one sample's shape; `turn` is the number of
    windows that pass before it sends (see `convsnn.spiking.turns`).
    """

    threshold: Tensor | float
    potential: Tensor | float = 0.0
    turn: Tensor | float = 1.0
    window: Annotated[int, "time steps of one turn: a value is rounded to so many levels"] = 16
    graded = False
    spikes_per_step = 1

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window must be at least 1, not {self.window}")

    def scan(
        self, currents: Tensor, state: SwitchState | None = None, *, keys: Keys | None = None
    ) -> tuple[Tensor, SwitchState]:
        """See `Neuron.scan`."""
        del keys  # nothing here is random
        threshold = as_tensor(self.threshold, currents)
        begin = 1 + int(self.turn) * self.window
        state = state or self._rest(currents[0], threshold)
        potential, flow, gap = state.potential.clone(), state.current.clone(), state.gap
        out = sequence_like(currents)
        for step, current in enumerate(currents, start=state.step):
            if step == begin:
                gap = torch.floor(potential / threshold + 0.5).clamp_(0, self.window)
            flow += current - state.bias  # in this order, so that what is silent adds nothing
            potential += flow
            sign = -((gap == step - begin) & (gap > 0)).to(flow.dtype)
            if step == begin:
                sign += gap > 0
            torch.mul(sign, threshold, out=out[step - state.step])
        steps = state.step + len(currents)
        return out, SwitchState(potential, threshold, flow, state.bias, gap, steps)

    def _rest(self, bias: Tensor, threshold: Tensor) -> SwitchState:
        zero = torch.zeros_like(bias)
        start = filled_like(self.potential, bias) + self.window * bias
        return SwitchState(start, threshold, zero, bias.clone(), zero, 0)
