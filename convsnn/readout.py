"""How the outputs of t time steps become one answer: a weighted mean of what came out of each.

    mean     every step counts alike
    rising   step s counts as s, so that what went wrong at the start is forgotten as 1/t^2, not 1/t

With `delay` D the first D steps are left out (Bu et al. 2025, section 4.3): step D + 1 is then the
first that counts. Until then the answer is the mean so far. Delay counts in T.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from convsnn.registry import Registry


@dataclass(frozen=True)
class Readout:
    """Weights of the time steps; step 1 is the first."""

    rising: bool = False
    delay: int = 0

    def __post_init__(self) -> None:
        if self.delay < 0:
            raise ValueError(f"delay must be at least 0, not {self.delay}")

    def weights(self, steps: range, like: Tensor) -> tuple[Tensor, Tensor]:
        """The weight of each of `steps` (counted from 0), and the sum of all weights up to it;
        both (len(steps), 1, ...), to go with `like` (len(steps), B, ...)."""
        count = torch.arange(steps.start + 1, steps.stop + 1, device=like.device, dtype=like.dtype)
        count = (count - self.delay).clamp(min=0).reshape(-1, *[1] * (like.dim() - 1))
        if self.rising:
            return count, count * (count + 1) / 2
        return count.clamp(max=1), count


READOUTS: Registry[Readout] = Registry("readout")


def delayed(spec: str, delay: int) -> str:
    """The readout `spec` with `delay` steps left out; `spec` as it is where there are none."""
    return f"{spec}{',' if ':' in spec else ':'}delay={delay}" if delay else spec


@READOUTS.register("mean")
def mean(*, delay: int = 0) -> Readout:
    """The mean of the outputs of all steps behind `delay`."""
    return Readout(delay=delay)


@READOUTS.register("rising")
def rising(*, delay: int = 0) -> Readout:
    """A mean in which later steps count more: the s-th step behind `delay` counts as s."""
    return Readout(rising=True, delay=delay)
