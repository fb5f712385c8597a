"""What stands in for the derivative of a spike, H(d), which is zero nearly everywhere.

d is the distance of the potential to the threshold, in units of the threshold a network was made
for (see `thresholds`). Each surrogate is a bump around d = 0:

    rectangle     1 / w  where |d| < w / 2               LTMD equation 4, w = 1
    triangle      max(0, 1 - |d| / g) / g                LT-SNN equations 5 and 8, g = 1
    arctan        (a / 2) / (1 + (pi a d / 2)^2)         the slope of arctan(pi a d / 2) / pi
    fast-sigmoid  1 / (1 + k |d|)^2                      Zenke and Ganguli 2018
    exponential   (s / tau) exp(-|d| / tau)              Rouser equation 4
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from convsnn.registry import Registry


class Surrogate(Protocol):
    """A bump that replaces the derivative of the step at distance 0."""

    def derivative(self, distance: Tensor) -> Tensor:
        """The slope used at each distance; same shape and type."""
        ...


SURROGATES: Registry[Surrogate] = Registry("surrogate")


def spike(distance: Tensor, surrogate: Surrogate, *, strict: bool = False) -> Tensor:
    """H(distance), 0 or 1 in the type of `distance`, with `surrogate` as its derivative.

    A tie is a spike unless `strict`.
    """
    spikes: Tensor = _Spike.apply(distance, surrogate, strict)
    return spikes


class _Spike(Function):
    """The step function; the chain rule goes on with the surrogate's slope."""

    @staticmethod
    def forward(ctx: Any, distance: Tensor, surrogate: Surrogate, strict: bool) -> Tensor:
        ctx.save_for_backward(distance)
        ctx.surrogate = surrogate
        return (distance > 0 if strict else distance >= 0).to(distance.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (distance,) = ctx.saved_tensors
        return gradient * ctx.surrogate.derivative(distance), None, None


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite, not {value}")


@SURROGATES.register("rectangle")
@dataclass(frozen=True)
class Rectangle:
    """A window of total `width` and area 1; a distance of exactly width / 2 is outside."""

    width: float = 1.0

    def __post_init__(self) -> None:
        _positive(width=self.width)

    def derivative(self, distance: Tensor) -> Tensor:
        """See `Surrogate.derivative`."""
        return (distance.abs() < self.width / 2).to(distance.dtype) / self.width


@SURROGATES.register("triangle")
@dataclass(frozen=True)
class Triangle:
    """A triangle of area 1 that reaches zero at distance `gamma`."""

    gamma: float = 1.0

    def __post_init__(self) -> None:
        _positive(gamma=self.gamma)

    def derivative(self, distance: Tensor) -> Tensor:
        """See `Surrogate.derivative`."""
        return (1 - distance.abs() / self.gamma).clamp(min=0) / self.gamma


@SURROGATES.register("arctan")
@dataclass(frozen=True)
class Arctan:
    """The slope of an arctangent, alpha / 2 high, of area 1."""

    alpha: float = 2.0

    def __post_init__(self) -> None:
        _positive(alpha=self.alpha)

    def derivative(self, distance: Tensor) -> Tensor:
        """See `Surrogate.derivative`."""
        return self.alpha / 2 / (1 + (math.pi / 2 * self.alpha * distance).square())


@SURROGATES.register("fast-sigmoid")
@dataclass(frozen=True)
class FastSigmoid:
    """The slope of d / (1 + slope |d|): 1 high, with tails that fall as 1 / d^2."""

    slope: float = 5.0

    def __post_init__(self) -> None:
        _positive(slope=self.slope)

    def derivative(self, distance: Tensor) -> Tensor:
        """See `Surrogate.derivative`."""
        return 1 / (1 + self.slope * distance.abs()).square()


@SURROGATES.register("exponential")
@dataclass(frozen=True)
class Exponential:
    """Two exponential flanks, scale / tau high; the defaults are those of Rouser's Table 2."""

    scale: float = 1.5
    tau: float = 3.75

    def __post_init__(self) -> None:
        _positive(scale=self.scale, tau=self.tau)

    def derivative(self, distance: Tensor) -> Tensor:
        """See `Surrogate.derivative`."""
        return self.scale / self.tau * torch.exp(-distance.abs() / self.tau)
