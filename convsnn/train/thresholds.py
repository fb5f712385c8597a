"""Thresholds as parameters of a neuron, and how a spike's gradient reaches them.

The threshold in force is V = unit * m, with m the number that is learned. `unit` is what the
network came with, such as a converted threshold of 27: the distance to the threshold is taken in
its multiples, d = (u - V) / unit, so that surrogates and learning rates made for thresholds near
1 keep their meaning. A spike is s = H(u - V); backward, with f' the surrogate,

    dL/du = g f'(d) / unit            dL/dm = - sum g w(d, s)

g being the gradient that reached the spike and w the window of the rule:

    fixed     none (m is a constant)
    ltmd      f'(d), with m = tanh(k)       LTMD equations 6 to 8
    lt-snn    a window of its own           see `lt_snn`
    rouser    f'(d), one for each neuron    see `rouser`
    anneal    none (m rises by itself)      see `annealing`
    dsr       of the whole run, not a step  see `dsr`

The sign is minus, whatever equation 6 of LT-SNN carries: a higher threshold means fewer spikes.
The sum runs over everything that shares one m: all of a layer, or all of a channel or a neuron.
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from convsnn.registry import Registry
from convsnn.train.surrogates import Surrogate


class Threshold(nn.Module, ABC):
    """The threshold of one site; subclasses say what is learned and by which window.

    `whole` says whether V also learns from where else it appears: as the amount that a soft reset
    takes away and as the size of what is sent. `floor` keeps m from falling below it (the gradient
    goes through, so that m can rise again); None lets it run free.
    """

    unit: Tensor

    def __init__(
        self, *, unit: Tensor | float | None = None, whole: bool = True, floor: float | None = None
    ) -> None:
        super().__init__()
        known = torch.as_tensor(1.0 if unit is None else unit).detach().clone()
        if not known.is_floating_point():
            known = known.float()
        if not bool((known.isfinite() & (known > 0)).all()):
            raise ValueError("the unit of a threshold must be positive and finite")
        self.register_buffer("unit", known)
        self.whole, self.floor = whole, floor

    @abstractmethod
    def number(self) -> Tensor:
        """The learned number m, before the floor."""

    def value(self) -> Tensor:
        """The threshold in force, V; broadcasts to one sample's shape."""
        number = self.number()
        if self.floor is not None:
            lifted = self.floor + (number - number.detach())
            number = torch.where(number < self.floor, lifted, number)
        return self.unit * number

    def amplitude(self) -> Tensor:
        """V as the amount that is subtracted and sent; without gradient unless `whole`."""
        value = self.value()
        return value if self.whole else value.detach()

    def start(self) -> Tensor:
        """The potential that a neuron starts from where nothing else is said."""
        return torch.zeros_like(self.unit)

    def advance(self) -> None:
        """An update of the weights is done: what changes by itself changes now."""

    def fire(self, potential: Tensor, surrogate: Surrogate, *, strict: bool = False) -> Tensor:
        """Spikes 0 or 1 of `potential` (B, ...), with the gradients of the rule."""
        spikes: Tensor = _Fire.apply(potential, self.value(), self.unit, self, surrogate, strict)
        return spikes

    def windows(
        self, distance: Tensor, fired: Tensor, surrogate: Surrogate
    ) -> tuple[Tensor, Tensor]:
        """What a spike's gradient is multiplied by on its way to the potential and to -m."""
        del fired
        slope = surrogate.derivative(distance)
        return slope, slope


class _Fire(Function):
    """[potential >= value]; the backward pass asks the rule for its two windows."""

    @staticmethod
    def forward(
        ctx: Any, potential: Tensor, value: Tensor, unit: Tensor, rule: Threshold,
        surrogate: Surrogate, strict: bool,
    ) -> Tensor:  # fmt: skip
        fired = potential > value if strict else potential >= value
        ctx.save_for_backward(potential, value, unit, fired)
        ctx.rule, ctx.surrogate = rule, surrogate
        return fired.to(potential.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        potential, value, unit, fired = ctx.saved_tensors
        to_potential, to_value = ctx.rule.windows((potential - value) / unit, fired, ctx.surrogate)
        passed = gradient * to_potential / unit if ctx.needs_input_grad[0] else None
        learned = None
        if ctx.needs_input_grad[1]:
            learned = -(gradient * to_value / unit).sum_to_size(value.shape)
        return passed, learned, None, None, None, None


THRESHOLDS: Registry[Threshold] = Registry("threshold")


def constant(value: float, shape: tuple[int, ...]) -> Tensor:
    """`value` everywhere in `shape`; ValueError where it is not finite."""
    if not math.isfinite(value):
        raise ValueError(f"a threshold starts from a finite number, not {value}")
    return torch.full(shape, value)


@THRESHOLDS.register("fixed")
class Fixed(Threshold):
    """A threshold that does not learn."""

    constant: Tensor

    def __init__(
        self,
        value: float = 1.0,
        *,
        unit: Tensor | float | None = None,
        shape: tuple[int, ...] = (),
    ) -> None:
        super().__init__(unit=unit)
        self.register_buffer("constant", constant(value, shape))

    def number(self) -> Tensor:
        """See `Threshold.number`."""
        return self.constant


@THRESHOLDS.register("ltmd")
class Ltmd(Threshold):
    """LTMD: V = tanh(k), so between -1 and 1, with k starting from 0.5.

    With a `unit` the learned number is tanh(k) / tanh(k0), which starts at 1 whatever k0 is: its
    gradient is then that of the paper's M, taken from the same place on the tanh.
    """

    scale: Tensor

    def __init__(
        self,
        k: float = 0.5,
        *,
        unit: Tensor | float | None = None,
        shape: tuple[int, ...] = (),
        whole: bool = True,
        floor: float | None = None,
    ) -> None:
        super().__init__(unit=unit, whole=whole, floor=floor)
        self.k = nn.Parameter(constant(k, shape))
        if unit is not None and k == 0:
            raise ValueError("k must not be 0 where a unit is given: tanh(0) cannot be scaled to 1")
        start = self.k.detach().tanh()
        self.register_buffer("scale", torch.ones_like(start) if unit is None else start)

    def number(self) -> Tensor:
        """See `Threshold.number`."""
        return self.k.tanh() / self.scale
