"""Adds up what neurons did over a data set: events, wrongly firing neurons, dead neurons.

Everything is counted in whole numbers, so the batch split changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from convsnn.graph import Node
from convsnn.ops import Role
from convsnn.rewrite import Spiking
from convsnn.simulate import Run


@dataclass
class Activity:
    """Totals over all images seen so far, per layer and step (T,).

    SIN are neurons that the original kept silent (pre-activation below zero) and that spiked at
    least once up to the step (MSAT, section 3.3); `silent` counts all the original kept silent.
    """

    net: Spiking
    steps: int
    samples: int = 0
    events: dict[str, Tensor] = field(default_factory=dict)
    operations: dict[str, Tensor] = field(default_factory=dict)
    sin: dict[str, Tensor] = field(default_factory=dict)
    silent: dict[str, int] = field(default_factory=dict)
    first_spike: dict[str, Tensor] = field(default_factory=dict)  # step, over all images

    def batch(self, pre_activations: Mapping[str, Tensor]) -> "Watch":
        """An observer for `simulate` on the images whose ANN pre-activations these are."""
        return Watch(self, {name: value < 0 for name, value in pre_activations.items()})

    def add(self, run: Run, samples: int) -> None:
        """Add the counts of one run."""
        self.samples += samples
        for mine, theirs in (
            (self.events, run.spikes),
            (self.operations, run.synaptic_operations),
        ):
            for name, counts in theirs.items():
                total = counts.sum(1).cpu().expand(self.steps)
                mine[name] = mine[name] + total if name in mine else total.clone()

    def rate(self, name: str) -> Tensor:
        """Mean spikes per neuron and step, up to each step, (T,)."""
        neurons = torch.Size(self.net.graph.shapes[name]).numel()
        steps = torch.arange(1, self.steps + 1, dtype=torch.float64)
        return self.events[name].cumsum(0).double() / (steps * neurons * self.samples)

    def sin_ratio(self, name: str) -> Tensor:
        """Share of the neurons the original kept silent that fired up to each step, (T,)."""
        return self.sin[name].double() / max(1, self.silent[name])

    def operations_per_image(self, name: str) -> Tensor:
        """Synaptic operations per image up to each step, (T,)."""
        if name not in self.operations:
            return torch.zeros(self.steps, dtype=torch.float64)
        return self.operations[name].cumsum(0) / self.samples

    def dead_fraction(self, name: str) -> Tensor:
        """Share of the neurons that fired for no image at all up to each step, (T,)."""
        first = self.first_spike[name].flatten()
        fired = torch.bincount(first, minlength=self.steps + 1)[: self.steps].cumsum(0)
        return 1.0 - fired.double() / first.numel()


@dataclass
class Watch:
    """Sees the spikes of one batch as they are simulated."""

    activity: Activity
    negative: Mapping[str, Tensor]
    fired: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, node: Node, steps: range, value: Tensor) -> None:
        """See `simulate`'s `observe`."""
        if node.role is not Role.ACTIVATION:
            return
        name, total = node.name, self.activity
        negative = self.negative[name]
        if name not in self.fired:
            self.fired[name] = torch.zeros_like(negative)
            total.silent[name] = total.silent.get(name, 0) + int(negative.sum())
            total.sin.setdefault(name, torch.zeros(total.steps, dtype=torch.int64))
        fired = self.fired[name]
        never = torch.full(negative.shape[1:], total.steps, device=negative.device)
        first = total.first_spike.setdefault(name, never)
        for step, spikes in zip(steps, value, strict=True):
            fired |= spikes != 0
            total.sin[name][step] += (fired & negative).sum().cpu()
            first[fired.any(0) & (first > step)] = step
