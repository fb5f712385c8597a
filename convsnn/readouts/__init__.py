"""How the outputs of t time steps become one answer: a weighted mean of what came out of each.

    mean     every step counts alike
    rising   step s counts as s: what went wrong at the start is forgotten as 1/t^2, not as 1/t;
             with power 2 as s^2, and forgotten as 1/t^3
    auto     whichever of these three `convsnn.convert` finds closer to the original network

With `delay` D the first D steps are left out (Bu et al. 2025, section 4.3): step D + 1 is then the
first that counts. Until then the answer is the mean so far. Delay counts in T.

    switch   a current that each spike pair of temporal-switch coding switches on and off again:
             o(1) + sum over steps s of (I(s) - o(1)) / window,  I(s) = I(s-1) + o(s) - o(1)

o(1) is the bias, for nothing is sent in the first step; the answer is complete when the last layer
has had its turn (see `convsnn.spiking.turns`), and the bias alone before.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import torch
from torch import Tensor

from convsnn.errors import ConfigError
from convsnn.registry import Registry


@dataclass(frozen=True)
class Readout:
    """Weights of the time steps; step 1 is the first, and step s counts as s to the `power`. Of
    pairs of spikes, the `window` they are sent in, which have no weights, as a readout that is
    still to be chosen (`auto`) has none."""

    power: Literal[0, 1, 2] = 0
    delay: int = 0
    window: int = 0
    auto: bool = False

    def __post_init__(self) -> None:
        if self.delay < 0:
            raise ValueError(f"delay must be at least 0, not {self.delay}")

    def weights(self, steps: range, like: Tensor) -> tuple[Tensor, Tensor]:
        """The weight of each of `steps` (counted from 0), and the sum of all weights up to it;
        both (len(steps), 1, ...), to go with `like` (len(steps), B, ...)."""
        if self.window:
            raise ConfigError("the readout 'switch' is for the neuron tsc", hint="use mean")
        if self.auto:
            raise ConfigError(
                "the readout 'auto' is chosen when a network is converted", hint="use mean"
            )
        count = torch.arange(steps.start + 1, steps.stop + 1, device=like.device, dtype=like.dtype)
        count = (count - self.delay).clamp(min=0).reshape(-1, *[1] * (like.dim() - 1))
        if self.power == 0:
            return count.clamp(max=1), count
        triangle = count * (count + 1) / 2
        if self.power == 1:
            return count, triangle
        return count.square(), triangle * (2 * count + 1) / 3


READOUTS: Registry[Readout] = Registry("readout")

Delay: TypeAlias = Annotated[int, "first time steps that the answer leaves out; they count in T"]


def delayed(spec: str, delay: int) -> str:
    """The readout `spec` with `delay` steps left out; `spec` as it is where there are none."""
    return f"{spec}{',' if ':' in spec else ':'}delay={delay}" if delay else spec


@READOUTS.register("mean")
def mean(*, delay: Delay = 0) -> Readout:
    """The mean of the outputs of all steps behind `delay`."""
    return Readout(delay=delay)


@READOUTS.register("rising")
def rising(
    *,
    delay: Delay = 0,
    power: Annotated[Literal[1, 2], "what the number of a step is raised to"] = 1,
) -> Readout:
    """A mean in which later steps count more: the s-th step behind `delay` counts as s^power."""
    return Readout(power=power, delay=delay)


@READOUTS.register("auto")
def auto(*, delay: Delay = 0) -> Readout:
    """Mean, or rising of power 1 or 2: what is closest to the original on calibration images."""
    return Readout(delay=delay, auto=True)


@READOUTS.register("switch")
def switch(
    *, window: Annotated[int, "time steps of one turn, those of the neuron tsc"] = 16
) -> Readout:
    """Temporal-switch coding, for the neuron tsc: pairs of spikes switch the output on and off."""
    if window < 1:
        raise ValueError(f"window must be at least 1, not {window}")
    return Readout(window=window)
