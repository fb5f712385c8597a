"""Losses of the spikes of an output layer, S(t) (T, B, K), each class having a neuron.

    van-rossum   1/2 sum over t and k of ((h * (S - S'))(t))^2            Rouser equation 6
    rate         sum over k of (mean over t of S - r')^2                  lava-dl's SpikeRate
    counts       mean over k of (sum over t of S - T r')^2 / T            threshold annealing, (30)

S' is a train with a spike in every `period`-th step for the right class, r' a rate for the right
one and one for the others. h(n) = exp(-n / tc), cut after `length` steps; of order 2 it is h
convolved with itself, (n + 1) exp(-n / tc). All are means over the batch.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from convsnn.train.losses import LOSSES


def filter_of(tc: float, *, length: int, order: int, like: Tensor) -> Tensor:
    """h(0), h(1), ..., (length,), in the type of `like`."""
    time = torch.arange(length, dtype=like.dtype, device=like.device)
    single = torch.exp(-time / tc)
    return single if order == 1 else (time + 1) * single


def filtered(error: Tensor, h: Tensor) -> Tensor:
    """h convolved with `error` (T, B, K) along the steps, nothing before the first."""
    steps = len(error)
    rows = error.permute(1, 2, 0).reshape(-1, 1, steps)
    used = h[:steps].flip(0).reshape(1, 1, -1)
    out = functional.conv1d(functional.pad(rows, (used.shape[2] - 1, 0)), used)
    return out.reshape(*error.shape[1:], steps).permute(2, 0, 1)


def van_rossum(spikes: Tensor, target: Tensor, h: Tensor) -> Tensor:
    """The distance of trains (T, B, K) by the filter `h`, a mean over the batch."""
    return 0.5 * filtered(spikes - target, h).square().sum((0, 2)).mean()


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < float("inf"):
            raise ValueError(f"{name} must be positive and finite, not {value}")


def _rates(labels: Tensor, like: Tensor, right: float, wrong: float) -> Tensor:
    """(B, K): the rate `right` for the label, `wrong` elsewhere."""
    one = functional.one_hot(labels, like.shape[2]).to(like.dtype)
    return one * (right - wrong) + wrong


@LOSSES.register("van-rossum")
@dataclass(frozen=True)
class VanRossum:
    """Van Rossum's distance to a train of even spikes for the right class and none for others."""

    tc: float = 5.0
    length: int = 100
    order: Literal[1, 2] = 2
    period: int = 2

    def __post_init__(self) -> None:
        _positive(tc=self.tc, length=self.length, period=self.period)

    def __call__(
        self, logits: Tensor, labels: Tensor, *, thresholds: tuple[Tensor, ...] = ()
    ) -> Tensor:
        """See `Loss`."""
        del thresholds
        even = torch.arange(len(logits), device=logits.device) % self.period == 0
        one = functional.one_hot(labels, logits.shape[2])
        target = (even[:, None, None] * one).to(logits.dtype)
        h = filter_of(self.tc, length=self.length, order=self.order, like=logits)
        return van_rossum(logits, target, h)


class _Rates:
    """What losses of rates share: those that are wanted."""

    right: float
    wrong: float

    def __post_init__(self) -> None:
        for name, value in (("right", self.right), ("wrong", self.wrong)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} lies between 0 and 1, not {value}")


@LOSSES.register("rate")
@dataclass(frozen=True)
class Rate(_Rates):
    """How far the neurons' rates are from those wanted."""

    right: float = 0.5
    wrong: float = 0.0

    def __call__(
        self, logits: Tensor, labels: Tensor, *, thresholds: tuple[Tensor, ...] = ()
    ) -> Tensor:
        """See `Loss`."""
        del thresholds
        wanted = _rates(labels, logits, self.right, self.wrong)
        return (logits.mean(0) - wanted).square().sum(1).mean()


@LOSSES.register("counts")
@dataclass(frozen=True)
class Counts(_Rates):
    """How far the numbers of spikes are from those wanted, by the number of steps."""

    right: float = 0.8
    wrong: float = 0.2

    def __call__(
        self, logits: Tensor, labels: Tensor, *, thresholds: tuple[Tensor, ...] = ()
    ) -> Tensor:
        """See `Loss`."""
        del thresholds
        wanted = _rates(labels, logits, self.right, self.wrong) * len(logits)
        return (logits.sum(0) - wanted).square().mean() / len(logits)
