"""Temporal-switch coding of an image (Han and Roy 2020), a reconstruction: two spikes a pixel.

    value = sign(x) * scale at step 1, -sign(x) * scale at step 1 + gap
    gap = floor(window * min(|x| / scale, 1) + 1/2); steps count from 0, which is quiet

Whoever adds up the sum of what came has, after `window` steps, window * x to within rounding.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from torch import Tensor

from convsnn.encoders.base import ENCODERS, largest, require_scale
from convsnn.errors import ConfigError


@ENCODERS.register("tsc")
@dataclass(frozen=True)
class TemporalSwitch:
    """A spike and its negative per pixel, the gap its size, for the neuron tsc; a reconstruction.

    `scale` is the pixel whose gap is the whole window, by default the largest.
    """

    window: Annotated[
        int, "time steps that a pixel is coded in: it is rounded to so many levels"
    ] = 16
    scale: Annotated[
        float | None,
        "pixel value whose gap is the whole window; none: the largest of the calibration images",
    ] = None
    constant = False
    steps = None

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window must be at least 1, not {self.window}")
        require_scale(self.scale)

    def fit(self, batches: Iterable[Tensor]) -> "TemporalSwitch":
        """Fill in `scale` from calibration images unless it was given."""
        return self if self.scale is not None else replace(self, scale=largest(batches))

    def spec(self) -> str:
        """See `Encoder.spec`."""
        scale = "" if self.scale is None else f",scale={self.scale!r}"
        return f"tsc:window={self.window}{scale}"

    def still(self, x: Tensor) -> Tensor:
        """The images themselves."""
        return x

    def encode(self, x: Tensor, ids: Tensor, steps: range) -> Tensor:
        """Values in {-scale, 0, scale}, (len(steps), B, ...)."""
        del ids
        if self.scale is None:
            raise ConfigError("the tsc encoder has no scale yet", hint="call fit() first")
        gap = torch.floor(x.abs() / self.scale * self.window + 0.5).clamp(max=self.window)
        first = torch.where(gap > 0, x.sign() * self.scale, 0.0)
        none = torch.zeros_like(first)
        return torch.stack(
            [(first if t == 1 else none) - torch.where(gap == t - 1, first, none) for t in steps]
        )
