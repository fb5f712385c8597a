"""Poisson (Bernoulli) rate encoding with signed spikes.

    spike(t) = sign(x) with probability min(|x| / scale, 1), else 0;    value = scale * spike(t)

so that the mean over steps tends to x (Rueckauer et al. 2017, section 2; signed as in
Rathi et al. 2020, section 3.1).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from torch import Tensor

from convsnn.encoders.base import ENCODERS, largest, require_scale
from convsnn.errors import ConfigError
from convsnn.random import uniform


@ENCODERS.register("poisson")
@dataclass(frozen=True)
class Poisson:
    """Random signed spikes whose rate is the pixel's size; `scale` defaults to the largest.

    The largest absolute value is taken from the calibration images.
    """

    seed: Annotated[int, "number that the random spikes are drawn from"] = 0
    scale: Annotated[
        float | None,
        "pixel value that spikes at every step; none: the largest of the calibration images",
    ] = None
    constant = False
    steps = None

    def __post_init__(self) -> None:
        require_scale(self.scale)

    def fit(self, batches: Iterable[Tensor]) -> "Poisson":
        """Fill in `scale` from calibration images unless it was given."""
        return self if self.scale is not None else replace(self, scale=largest(batches))

    def spec(self) -> str:
        """See `Encoder.spec`."""
        scale = "" if self.scale is None else f",scale={self.scale!r}"
        return f"poisson:seed={self.seed}{scale}"

    def still(self, x: Tensor) -> Tensor:
        """The images themselves."""
        return x

    def encode(self, x: Tensor, ids: Tensor, steps: range) -> Tensor:
        """Values in {-scale, 0, scale}, (len(steps), B, ...)."""
        if self.scale is None:
            raise ConfigError("the Poisson encoder has no scale yet", hint="call fit() first")
        draw = uniform(self.seed, ids, 0, steps, tuple(x.shape[1:]))
        return torch.where(draw < x.abs().double() / self.scale, x.sign() * self.scale, 0.0).to(
            x.dtype
        )
