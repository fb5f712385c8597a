"""Sequences as they were recorded: every time step is shown a frame of its own.

What spiking networks that were trained on event cameras take, and networks that were converted for
such data: their original, which knows no time, is shown the mean frame.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from convsnn.encoders.base import ENCODERS
from convsnn.errors import ConfigError


@ENCODERS.register("frames")
@dataclass(frozen=True)
class Frames:
    """Samples (B, steps, ...), the frame of step t at step t: events and other sequences."""

    steps: Annotated[int, "frames of a sequence, one for each time step"] = 1
    constant = False

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"a sequence has at least 1 step, not {self.steps}")

    def fit(self, batches: Iterable[Tensor]) -> "Frames":
        """Nothing to learn."""
        del batches
        return self

    def spec(self) -> str:
        """See `Encoder.spec`."""
        return f"frames:steps={self.steps}"

    def still(self, x: Tensor) -> Tensor:
        """The mean of each sample's frames, (B, ...)."""
        return x.mean(1)

    def encode(self, x: Tensor, ids: Tensor, steps: range) -> Tensor:
        """The frames of these steps, (len(steps), B, ...); ConfigError where there are none."""
        del ids
        if steps.stop > self.steps:
            raise ConfigError(
                f"the samples are sequences of {self.steps} frames, which show nothing at step "
                f"{steps.stop}",
                hint=f"run at most {self.steps} time steps",
            )
        return x[:, steps.start : steps.stop].movedim(1, 0)
