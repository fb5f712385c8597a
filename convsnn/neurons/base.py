"""What every neuron model offers: a pure scan over a chunk of time steps, state as a value."""

from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard, runtime_checkable

import torch
from torch import Tensor

from convsnn.registry import Registry


@dataclass(frozen=True)
class State:
    """Potentials after the last step, (B, ...), and the threshold that was last in force."""

    potential: Tensor
    threshold: Tensor


@dataclass(frozen=True)
class Keys:
    """What random draws of a population are keyed by: the samples' numbers (B,) and the site."""

    ids: Tensor
    site: int


class Neuron(Protocol):
    """A population of neurons of one site, given by its threshold and initial potential.

    `graded` is True where a spike can carry other sizes than 0 and the threshold (a sign does not
    make it graded: a weight is subtracted as easily as it is added, no multiplication is needed);
    `spikes_per_step` is the most a neuron can send in one step, in units of its threshold.
    """

    @property
    def graded(self) -> bool:
        """See above."""
        ...

    @property
    def spikes_per_step(self) -> int:
        """See above."""
        ...

    def scan(
        self, currents: Tensor, state: Any = None, *, keys: Keys | None = None
    ) -> tuple[Tensor, Any]:
        """Run the steps of `currents` (Tc, B, ...) from `state`; None starts from rest.

        `keys` are for neurons that draw at random; None numbers the samples from 0 at site 0.

        Returns the transmitted values, threshold x spike, (Tc, B, ...), and the state after.
        Scanning a sequence in chunks gives the same as scanning it at once.
        """
        ...


@runtime_checkable
class Patient(Protocol):
    """A population that can also wait for the current of all steps before it sends anything: see
    `convsnn.spiking.schedule`."""

    @property
    def threshold(self) -> Tensor | float:
        """What one spike is worth."""
        ...

    def count(self, total: Tensor, steps: int) -> Tensor:
        """Spikes, with their sign, that `total`, the current of `steps` steps (B, ...), makes."""
        ...


@runtime_checkable
class Coding(Patient, Protocol):
    """A patient population whose spikes differ in size, so that a count does not say how many."""

    def code(self, total: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """What `count` gives, and how many spikes that takes, (B, ...) both."""
        ...

    def train(self, total: Tensor, at: range, *, steps: int) -> Tensor:
        """What is sent at the steps `at` of `steps`, in thresholds, (len(at), B, ...)."""
        ...


@runtime_checkable
class Changing(Protocol):
    """A population whose spikes may be changes of a mean that its receivers hold (`differential`):
    what `scan` gives is then that mean and the spike together, which is what receivers take in."""

    @property
    def differential(self) -> bool:
        """See above."""
        ...

    def changes(
        self, currents: Tensor, state: Any = None, *, keys: Keys | None = None
    ) -> tuple[Tensor, Tensor, Any]:
        """As `scan`: the spikes (Tc, B, ...), the means held before the first step and after each
        (Tc + 1, B, ...), and the state after."""
        ...


NEURONS: Registry[Neuron] = Registry("neuron")


def sends_changes(neuron: object) -> TypeGuard[Changing]:
    """Whether its spikes are changes of a mean."""
    return isinstance(neuron, Changing) and neuron.differential


def levels(charge: Tensor, threshold: Tensor) -> Tensor:
    """How many whole thresholds `charge` covers; a quotient that was rounded up does not count.
    No gradient flows through it."""
    charge, threshold = charge.detach(), threshold.detach()
    found = (charge / threshold).floor_()
    # in place, for room that is written to first costs more than the arithmetic
    over = found * threshold
    return found.sub_(torch.gt(over, charge, out=over))


def as_tensor(value: Tensor | float, like: Tensor) -> Tensor:
    """`value` in the float type and on the device of `like`."""
    return torch.as_tensor(value, dtype=like.dtype, device=like.device)


def filled_like(value: Tensor | float, current: Tensor) -> Tensor:
    """`value`, which broadcasts to `current`, as a tensor that lies in memory as `current` does."""
    return torch.empty_like(current).copy_(as_tensor(value, current).expand_as(current))


def sequence_like(currents: Tensor) -> Tensor:
    """Room for as many steps as `currents` (Tc, B, ...), each of which lies as its current does:
    to mix orders of axes costs several times the arithmetic."""
    step = torch.empty_like(currents[0])
    strides = (step.numel(), *step.stride())
    return torch.empty_strided(
        currents.shape, strides, dtype=currents.dtype, device=currents.device
    )
