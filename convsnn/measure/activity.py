"""Adds up what neurons did over a data set: events, wrongly firing neurons, dead neurons.

Everything is counted in whole numbers, so the batch split changes nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from convsnn.graph import Node
from convsnn.graph.ops import Role
from convsnn.measure.first_spikes import FirstSpikes
from convsnn.measure.sharing import Share
from convsnn.simulate import Run
from convsnn.spiking.network import Spiking
from convsnn.spiking.schedule import scored_steps


@dataclass
class Activity:
    """Totals over all images seen so far, per layer and step (T,).

    Of a network that fires layer by layer the series have one entry for each of `at`, the numbers
    of steps that it is run to, instead of one for each step.

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
    first_spike: dict[str, Tensor] = field(default_factory=dict)  # step, over all images;
    # layer by layer instead, for each of `at`, 0 where a neuron fires for an image and 1 elsewhere

    @cached_property
    def at(self) -> list[int]:
        """The numbers of steps that are scored."""
        return scored_steps(self.net.schedule, self.steps)

    def batch(self, pre_activations: Mapping[str, Tensor]) -> "Watch":
        """An observer for `simulate` on the images whose ANN pre-activations these are."""
        graph, signs = self.net.graph, {}
        for name, value in pre_activations.items():
            if graph.sites[name].signed:
                signs[name] = graph.activate(name, value).sign()
        watched = {n: signs[n] != 0 if n in signs else v < 0 for n, v in pre_activations.items()}
        kind = Watch if self.net.schedule == "steps" else WatchTotals
        return kind(self, watched, signs)

    def add(self, run: Run, samples: int) -> None:
        """Add the counts of one run."""
        self.samples += samples
        for mine, theirs in (
            (self.events, run.spikes),
            (self.operations, run.synaptic_operations),
        ):
            for name, counts in theirs.items():
                total = counts.sum(1).cpu().expand(len(self.at))
                mine[name] = mine[name] + total if name in mine else total.clone()

    def merge(self, share: Share) -> None:
        """Add what the other processes saw; process 0, which has images, then has all of it."""
        if share.count == 1:
            return
        sites, senders = self.net.graph.sites, self.net.fan_out
        none = torch.zeros(len(self.at), dtype=torch.int64)
        for name in self.net.graph.by_name:
            if name in sites or name in senders:
                _merge(self.events, name, none, share.add)
            if name in senders:
                _merge(self.operations, name, none.double(), share.add)
        for name in sites:
            never = self._never(name)
            _merge(self.sin, name, none, share.add)
            _merge(self.first_spike, name, never, share.least)
            self.silent[name] = int(share.add(torch.tensor(self.silent.get(name, 0))))
        self.samples = int(share.add(torch.tensor(self.samples)))

    def rate(self, name: str) -> Tensor:
        """Mean spikes per neuron and step, up to each step, (T,)."""
        neurons = torch.Size(self.net.graph.shapes[name]).numel()
        steps = torch.tensor(self.at, dtype=torch.float64)
        return self.up_to(self.events[name]).double() / (steps * neurons * self.samples)

    def _never(self, name: str) -> Tensor:
        """`first_spike` of a layer that does not fire."""
        shape = tuple(self.net.graph.shapes[name])
        if self.net.schedule == "layers":
            return torch.ones(len(self.at), *shape, dtype=torch.int64)
        return torch.full(shape, self.steps)

    def up_to(self, series: Tensor) -> Tensor:
        """What was counted up to each step."""
        return series.cumsum(0) if self.net.schedule == "steps" else series

    def sin_ratio(self, name: str) -> Tensor:
        """Share of the `silent` neurons that fired wrongly up to each step, (T,)."""
        return self.sin[name].double() / max(1, self.silent[name])

    def operations_per_image(self, name: str) -> Tensor:
        """Synaptic operations per image up to each step, (T,)."""
        if name not in self.operations:
            return torch.zeros(len(self.at), dtype=torch.float64)
        return self.up_to(self.operations[name]) / self.samples

    def dead_fraction(self, name: str) -> Tensor:
        """Share of the neurons that fired for no image at all up to each step, (T,)."""
        first = self.first_spike[name].flatten()
        if self.net.schedule == "layers":
            return self.first_spike[name].flatten(1).double().mean(1)
        fired = torch.bincount(first, minlength=len(self.at) + 1)[: len(self.at)].cumsum(0)
        return 1.0 - fired.double() / first.numel()


@dataclass
class Watch:
    """Sees the spikes of one batch as they are simulated; `finish` adds them to the activity.

    A spike against the `signs` of the original's activations is wrong; of the sites without, every
    spike of a neuron in `watched` is. It takes values in whatever unit they are passed in, since
    only their signs matter.
    """

    activity: Activity
    watched: Mapping[str, Tensor]
    signs: Mapping[str, Tensor] = field(default_factory=dict)
    fired: dict[str, FirstSpikes] = field(default_factory=dict)
    erred: dict[str, FirstSpikes] = field(default_factory=dict)
    raw = True

    def __call__(self, node: Node, steps: range, value: Tensor) -> None:
        """See `simulate`'s `observe`."""
        del steps  # they come in order
        if node.role is not Role.ACTIVATION:
            return
        self._see(self.fired, node.name, value)
        if node.name in self.signs:
            self._see(self.erred, node.name, value * self.signs[node.name] < 0)

    def _see(self, found: dict[str, FirstSpikes], name: str, value: Tensor) -> None:
        if name not in found:
            found[name] = FirstSpikes(self.activity.steps)
        found[name].see(value)

    def finish(self) -> None:
        """Count wrongly firing and dead neurons of the batch; all of it, or nothing if it fails."""
        total, steps = self.activity, self.activity.steps
        sin, silent, first_spike = dict(total.sin), dict(total.silent), dict(total.first_spike)
        for name, fired in self.fired.items():
            watched = self.watched[name]
            counts = self.erred.get(name, fired).counts(watched)
            sin[name] = sin[name] + counts if name in sin else counts
            silent[name] = silent.get(name, 0) + int(watched.sum())
            earliest = steps - fired.left().amax(0).long().cpu()
            known = first_spike.get(name)
            first_spike[name] = earliest if known is None else torch.minimum(known, earliest)
        total.sin, total.silent, total.first_spike = sin, silent, first_spike


@dataclass
class WatchTotals(Watch):
    """The same for a network that fires layer by layer: it sees what each run sends in all."""

    wrong: dict[str, Tensor] = field(default_factory=dict)
    never: dict[str, Tensor] = field(default_factory=dict)

    def totals(self, node: Node, place: int, counts: Tensor) -> None:
        """The counts (B, ...) of the neurons of `node` in the run at `place`."""
        name, at, fired = node.name, len(self.activity.at), counts != 0
        erred = counts * self.signs[name] < 0 if name in self.signs else fired
        if name not in self.wrong:
            self.wrong[name] = torch.zeros(at, dtype=torch.int64)
            self.never[name] = torch.ones(at, *counts.shape[1:], dtype=torch.int64)
        self.wrong[name][place] = (erred & self.watched[name]).count_nonzero().cpu()
        # over bytes in the order in which they lie: twenty times sooner
        if not len(fired):
            return
        images = fired.dim() == 4
        bytes_ = (fired.movedim(1, -1) if images else fired).view(torch.uint8).amax(0)
        self.never[name][place] = 1 - (bytes_.movedim(-1, 0) if images else bytes_).long().cpu()

    def finish(self) -> None:
        """See `Watch.finish`."""
        total = self.activity
        for name, wrong in self.wrong.items():
            total.sin[name] = total.sin.get(name, 0) + wrong
            total.silent[name] = total.silent.get(name, 0) + int(self.watched[name].sum())
            known = total.first_spike.get(name)
            never = self.never[name]
            total.first_spike[name] = never if known is None else torch.minimum(known, never)


def _merge(
    found: dict[str, Tensor], name: str, nothing: Tensor, over_all: Callable[[Tensor], Tensor]
) -> None:
    """Put what all processes found in the place of what this one did, which may be nothing."""
    merged = over_all(found.get(name, nothing))
    if name in found:
        found[name] = merged
