"""Leaky integrate-and-fire, as `convsnn.train.lif` trains it, alone and in rows (LTMD).

    U(t) = V(t-1) + z(t)      s(t) = 1 if U(t) >= threshold else 0
    zero reset: V(t) = decay * U(t) * (1 - s(t))              LTMD equation 2, LT-SNN's code
    soft reset: V(t) = decay * U(t) - threshold * s(t)        what is taken away does not leak
    output = s(t) ("one") or threshold * s(t) ("threshold")

V is what the next step starts from; decay 1 is integrate-and-fire. There is no gain on the current:
z counts in full. Potentials, currents and thresholds are in the units the network was trained in.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import conv1d

from convsnn.neurons.base import NEURONS, Keys, Neuron, State, as_tensor, filled_like, sequence_like
from convsnn.neurons.fused import Fusable, Step

Decay: TypeAlias = Annotated[
    float, "share of the potential that is kept from step to step, 0 to 1; 1 leaks nothing"
]
Strict: TypeAlias = Annotated[
    bool, "whether the potential must exceed the threshold to fire, not only reach it"
]
Sends: TypeAlias = Annotated[
    Literal["one", "threshold"], "size of a spike: 1, or the threshold in units of activations"
]
Reset: TypeAlias = Annotated[
    Literal["zero", "soft"],
    "what a spike does to the potential: set it to zero, or subtract the threshold",
]


@NEURONS.register("lif")
@dataclass(frozen=True)
class LeakyIntegrateAndFire:
    """Leaky integrate-and-fire for trained networks; one spike a step, of size 1 by default.

    `threshold` and the initial `potential` broadcast to one sample's shape; `strict` asks for more
    than the threshold to fire.
    """

    threshold: Tensor | float
    potential: Tensor | float = 0.0
    decay: Decay = 0.5
    reset: Reset = "zero"
    sends: Sends = "one"
    strict: Strict = False
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


@dataclass(frozen=True)
class RowState(State):
    """Beside potential and threshold, what the row sent last."""

    sent: Tensor


@dataclass(frozen=True)
class Row:
    """Leaky neurons side by side, each of which hears what its neighbours sent a step before.

        U_i(t) = V_i(t-1) + z_i(t) + sum over j of lateral_j o_(i + j)(t-1)    LTMD, equation 9
        o(t)   = U(t)                                                          "potential", its 10
                 U(t) where U(t) >= threshold, else 0        "gated", the authors' code
                 as `lif`                                    "spike"

    What is left of U is that of `lif`. Currents are (Tc, B, neurons); `lateral` (width,) has its
    middle at the neuron itself and meets nothing beyond the ends.
    """

    one: LeakyIntegrateAndFire
    outputs: Literal["potential", "gated", "spike"]
    lateral: Tensor | None = None
    spikes_per_step = 1

    @property
    def graded(self) -> bool:
        """Whether potentials are sent."""
        return self.outputs != "spike"

    def scan(
        self, currents: Tensor, state: RowState | None = None, *, keys: Keys | None = None
    ) -> tuple[Tensor, RowState]:
        """See `Neuron.scan`."""
        start = filled_like(self.one.potential, currents[0])
        threshold = as_tensor(self.one.threshold, currents)
        state = state or RowState(start, threshold, torch.zeros_like(start))
        out = sequence_like(currents)
        for step, current in enumerate(currents):
            heard = current if self.lateral is None else current + self._heard(state.sent)
            spikes, after = self.one.scan(heard[None], state, keys=keys)
            potential = state.potential + heard
            if self.outputs == "potential":
                out[step] = potential
            else:
                out[step] = spikes[0] if self.outputs == "spike" else potential * (spikes[0] != 0)
            state = RowState(after.potential, threshold, out[step].clone())
        return out, state

    def _heard(self, sent: Tensor) -> Tensor:
        assert self.lateral is not None  # asked for by `scan`
        kernel = as_tensor(self.lateral, sent).reshape(1, 1, -1)
        return conv1d(sent.unsqueeze(1), kernel, padding=kernel.shape[2] // 2).squeeze(1)


@NEURONS.register("ltmd")
def ltmd(
    threshold: Tensor | float,
    potential: Tensor | float = 0.0,
    *,
    lateral: Tensor | None = None,
    slope: Tensor | None = None,
    row: Annotated[
        bool, "whether the layer is fully connected: a row of neurons with lateral input"
    ] = False,
    decay: Decay = 0.25,
    reset: Reset = "zero",
    sends: Sends = "one",
    strict: Strict = False,
    outputs: Annotated[
        Literal["potential", "gated", "spike"],
        "what a row sends on: its potentials, those of neurons that fire, or spikes",
    ] = "potential",
) -> Neuron:
    """The neurons of LTMD: `lif` in layers of images, in rows with lateral input and potentials.

    `row` says that the site is a row, of a fully connected layer; of others none has `lateral`
    input. `slope` is what potentials do with negative currents anyway.
    """
    del slope
    one = LeakyIntegrateAndFire(
        threshold, potential, decay=decay, reset=reset, sends=sends, strict=strict
    )
    if outputs not in ("potential", "gated", "spike"):
        raise ValueError(f"outputs are potential, gated or spike, not {outputs}")
    if lateral is not None and (lateral.dim() != 1 or len(lateral) % 2 == 0 or not row):
        raise ValueError("lateral input needs a row of neurons and a kernel with a middle")
    return Row(one, outputs, lateral) if row else one
