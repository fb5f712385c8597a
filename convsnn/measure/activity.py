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
    Where the original's activation has a sign, they are neurons that sent a spike of the other
    sign, and `silent` counts all whose activation is not zero.
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
        graph, signs = self.net.graph, {}
        for name, value in pre_activations.items():
            if graph.sites[name].signed:
                signs[name] = graph.activate(name, value).sign()
        watched = {n: signs[n] != 0 if n in signs else v < 0 for n, v in pre_activations.items()}
        return Watch(self, watched, signs)

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
        """Share of the `silent` neurons that fired wrongly up to each step, (T,)."""
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
    """Sees the spikes of one batch as they are simulated; `finish` adds them to the activity.

    `earliness` is per sample and neuron the number of steps left at its first spike, the first
    step's included: 0 for a neuron that never fired. `wrongness` is the same for spikes against
    the `signs` of the original's activations; of the sites without, every spike of a neuron in
    `watched` is wrong.
    """

    activity: Activity
    watched: Mapping[str, Tensor]
    signs: Mapping[str, Tensor] = field(default_factory=dict)
    earliness: dict[str, Tensor] = field(default_factory=dict)
    wrongness: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, node: Node, steps: range, value: Tensor) -> None:
        """See `simulate`'s `observe`."""
        if node.role is not Role.ACTIVATION:
            return
        left = torch.arange(
            self.activity.steps - steps.start,
            self.activity.steps - steps.stop,
            -1,
            dtype=torch.float32,
            device=value.device,
        )
        left = left.reshape(-1, *[1] * (value.dim() - 1))
        _raise(self.earliness, node.name, ((value != 0) * left).amax(0))
        if node.name in self.signs:
            wrong = value * self.signs[node.name] < 0
            _raise(self.wrongness, node.name, (wrong * left).amax(0))

    def finish(self) -> None:
        """Count wrongly firing and dead neurons of the batch."""
        total, steps = self.activity, self.activity.steps
        for name, early in self.earliness.items():
            first = (steps - early).long()
            erred = (steps - self.wrongness.get(name, early)).long()
            wrong = torch.bincount(erred[self.watched[name]], minlength=steps + 1)
            counts = wrong[:steps].cumsum(0).cpu()
            total.sin[name] = total.sin[name] + counts if name in total.sin else counts
            total.silent[name] = total.silent.get(name, 0) + int(self.watched[name].sum())
            earliest = first.amin(0)
            known = total.first_spike.get(name)
            total.first_spike[name] = earliest if known is None else torch.minimum(known, earliest)


def _raise(found: dict[str, Tensor], name: str, value: Tensor) -> None:
    known = found.get(name)
    found[name] = value if known is None else torch.maximum(known, value)
