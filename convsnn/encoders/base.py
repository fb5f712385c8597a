"""What every input encoder offers: the input's value at each of a chunk of time steps."""

import math
from collections.abc import Iterable
from typing import Protocol, Self

from torch import Tensor

from convsnn.errors import ConfigError
from convsnn.registry import Registry


class Encoder(Protocol):
    """Turns images (B, ...), or sequences (B, steps, ...), into the input of each step.

    `constant` is True where every step gets the same value, so that all that depends on the input
    alone is computed once. `steps` is None where samples are images.
    """

    constant: bool

    @property
    def steps(self) -> int | None:
        """See above."""
        ...

    def fit(self, batches: Iterable[Tensor]) -> Self:
        """The encoder with whatever it must learn from calibration images filled in."""
        ...

    def spec(self) -> str:
        """The text from which the registry builds the same encoder again."""
        ...

    def still(self, x: Tensor) -> Tensor:
        """The image that a network without time is shown of every sample, (B, ...)."""
        ...

    def encode(self, x: Tensor, ids: Tensor, steps: range) -> Tensor:
        """Input at `steps` for the samples numbered `ids`: (len(steps), B, ...)."""
        ...


ENCODERS: Registry[Encoder] = Registry("encoder")


def largest(batches: Iterable[Tensor]) -> float:
    """The largest absolute value of all images; ConfigError where there is none above zero."""
    sizes = [float(x.abs().max()) for x in batches]
    if not all(math.isfinite(size) for size in sizes):
        raise ConfigError("a calibration image is not finite, so the input has no scale")
    if max(sizes, default=0.0) <= 0:
        raise ConfigError("the calibration images are all zero, so the input has no scale")
    return max(sizes)


def require_scale(scale: float | None) -> None:
    """ValueError unless `scale` is unset or a positive number."""
    if scale is not None and not 0 < scale < math.inf:
        raise ValueError(f"scale must be positive, not {scale}")
