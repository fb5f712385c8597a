"""The running mean of what is trained, which is often better than where training happens to stand.

    w'(k) = d w'(k-1) + (1 - d) w(k)      d = min(average, (1 + k) / (10 + k)),  after update k

so that the first updates, which change most, are soon forgotten (as in TensorFlow's
ExponentialMovingAverage). Statistics of batch norm are no weights and stay as they are.
What is told of an epoch (thresholds, rates, how far weights moved) is of where training stands.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class RunningMean:
    """The mean of the parameters of `network`; an `average` of 0 is where they stand."""

    def __init__(self, network: nn.Module, average: float) -> None:
        self.network, self.average = network, average
        self.values: dict[str, Tensor] = {}
        if average:
            self.values = {n: w.detach().clone() for n, w in network.named_parameters()}

    @torch.no_grad()
    def add(self, update: int) -> None:
        """Take in where the parameters stand after `update` updates."""
        share = 1 - min(self.average, (1 + update) / (10 + update))
        for name, value in self._pairs():
            self.values[name].lerp_(value, share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network with the mean instead of its parameters."""
        kept = {name: value.detach().clone() for name, value in self._pairs()}
        self.take()
        try:
            yield
        finally:
            self._put(kept)

    def take(self) -> None:
        """Put the mean into the network for good."""
        self._put(self.values)

    def restore(self, values: Mapping[str, Tensor]) -> None:
        """Go on from a mean that was stored; KeyError or RuntimeError where it does not fit."""
        for name, value in self.values.items():
            value.copy_(values[name])

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self._pairs():
            parameter.copy_(values[name])

    def _pairs(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((n, w) for n, w in self.network.named_parameters() if n in self.values)
