"""Simulates calibration images layer by layer, so that a stage may change each layer in turn.

Spiking networks here are feed-forward: all steps of one layer can run before the first step of
the next. A replay keeps what the neurons sent that later layers still read (as bits where spikes
are alike), hands each layer its input currents beside the activations of the original network,
and goes on with whatever the stage made of the layer. Every layer is so calibrated behind layers
that are calibrated already, and the whole costs a few simulations, however deep the network.

Memory grows with images x steps x the neurons that are still read, an eighth of a byte each
(see `calibrate.held`). The input currents of the layer at hand are held beside it, those of as many
images as `KEPT` has room for; of the others they are made anew whenever they are read.

Images come in pieces that are dealt out to `LOTS` lots, and these to the processes that share the
work: sums over a lot, added up in float64, are the same however many processes there are.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import torch
from torch import Tensor

from calibrate.base import Context
from calibrate.layer_run import run_layer
from calibrate.sent import Sent, means
from calibrate.stops import Layer, reads_of, stops_of, work_of
from convsnn.errors import CalibrationError
from convsnn.graph import Site
from convsnn.graph.ops import Role
from convsnn.neurons import Keys
from convsnn.neurons.base import Patient
from convsnn.neurons.integrate import IntegrateAndFire
from convsnn.spiking.plan import Plan, SitePlan
from convsnn.spiking.population import population
from convsnn.spiking.turns import takes_turns

LOTS = 16
ELEMENTS = 1 << 22  # of the largest layer, over the steps and images run at once
KEPT = 5 << 27  # bytes of spikes and of the input currents of one layer that are held at once


# per batch values by name, of the spiking network and of the original
Pairs: TypeAlias = Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]


@dataclass
class _Images:
    """A piece on its way: what was sent, and what the original network has in its place."""

    number: int  # of all pieces, whosever they are
    ids: Tensor
    sent: dict[str, Sent]
    original: dict[str, Tensor]


@dataclass
class Replay:
    """A pass over the layers of a network with a plan that changes on the way.

    Where layers fire one after another, all that is said of steps here is one mean over `steps`,
    (1, B, ...). `steps` are simulated on the first `samples` calibration images. Raises
    CalibrationError where a layer has no threshold yet, where layers take turns, or there are no
    images. `images` and `pieces` count what all processes have; what is iterated here are those of
    this one, which may have none.
    """

    context: Context
    plan: Plan
    steps: int
    samples: int
    images: int = field(init=False, default=0)
    pieces: int = field(init=False, default=0)
    _batches: list[_Images] = field(init=False)
    _kept: tuple[str, dict[int, tuple[Tensor, Tensor]]] = field(init=False, default=("", {}))
    _targets: tuple[str, dict[int, Tensor]] = field(init=False, default=("", {}))

    def __post_init__(self) -> None:
        if takes_turns(self.context.neuron):
            raise CalibrationError(
                f"a stage that looks at what neurons send step by step says nothing of "
                f"'{self.context.neuron}', whose layers take turns",
                hint="use stages that look at activations only, like percentile:q=99.9+tsc",
            )
        if self.context.graph.smooth:
            raise CalibrationError(
                "a stage that simulates layer by layer does not know functions and products, such "
                f"as '{self.context.graph.smooth[0].name}'",
                hint="use stages that look at activations only, like mse+coding",
            )
        self.plan.check(self.context.graph)
        self._batches = list(self._read())
        if not self.images:
            raise CalibrationError(
                "there are no calibration images", hint="give --calibration-samples at least 1"
            )

    @property
    def by_layers(self) -> bool:
        """Whether layers fire one after another."""
        return self.context.schedule == "layers"

    @property
    def length(self) -> int:
        """How many values there are of each neuron: one a step, or one mean."""
        return 1 if self.by_layers else self.steps

    @property
    def moving(self) -> frozenset[str]:
        """What changes from step to step: all that does not hang on a constant input alone."""
        constant = self.context.encoder.constant
        return self.context.graph.behind({Role.ACTIVATION, *(() if constant else (Role.INPUT,))})

    def _is_plain(self, site: Site) -> bool:
        """Whether neurons send their threshold or nothing, which need not be looked for then."""
        neuron = population(self.context.neuron, site, self.plan.sites[site.name])
        return isinstance(neuron, IntegrateAndFire)

    def _read(self) -> Iterator[_Images]:
        context, share = self.context, self.context.share
        largest = max(torch.Size(shape).numel() for shape in context.graph.shapes.values())
        size = max(1, ELEMENTS // (largest * self.length))
        count = range(1 if context.encoder.constant else self.steps)
        name = context.graph.input.name
        for batch in context.shown.batches:
            for x in batch[: self.samples - self.images].split(size):
                number, first = self.pieces, self.images
                self.pieces, self.images = number + 1, first + len(x)
                if number % LOTS % share.count != share.number:
                    continue
                ids = torch.arange(first, self.images, device=x.device)
                encoded = context.encoder.encode(x, ids, count)
                whole = Sent(encoded, torch.ones((), dtype=x.dtype, device=x.device), len(count))
                yield _Images(number, ids, {name: whole}, {name: context.encoder.still(x)})
            if self.images >= self.samples:
                return

    def layers(self) -> Iterator[Layer]:
        """Every layer in order, the outputs last.

        When the next one is asked for, the neurons of this one fire as the plan says by then.
        """
        graph = self.context.graph
        stops = stops_of(self.context)
        works = [work_of(graph, stop) for stop in stops]
        for index, stop in enumerate(stops):
            yield stop
            self.context.heard(sum(works[: index + 1]) / sum(works))
            if stop.site is None:
                continue
            later = {name for s in stops[index + 1 :] for name in reads_of(s)}
            for images, (currents, target) in zip(self._batches, self.currents(stop), strict=True):
                if stop.site.name in later:
                    values = self.fire(stop, images.ids, currents)
                    threshold = self.plan.sites[stop.site.name].threshold.to(values)
                    images.sent[stop.site.name] = (
                        Sent.count(values, threshold, self.steps)
                        if self.by_layers
                        else Sent.pack(values, threshold, plain=self._is_plain(stop.site))
                    )
                    images.original[stop.site.name] = graph.activate(stop.site.name, target)
                for name in [n for n in images.sent if n not in later]:
                    del images.sent[name], images.original[name]
            self._kept, self._targets = ("", {}), ("", {})

    def keep_target(self, layer: Layer, number: int, target: Tensor) -> None:
        """The original's value at the end of `layer`, (B, ...) of the batch `number`, need not be
        computed again as long as the layer is at hand."""
        if self._targets[0] != layer.end:
            self._targets = layer.end, {}
        known = self._targets[1]
        if target.nbytes + sum(value.nbytes for value in known.values()) <= KEPT // 4:
            known[number] = target

    def currents(self, layer: Layer, steps: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Per batch the value of `layer.end` at the first `steps` (default: all), (T, B, ...), or
        (1, B, ...) where it does not change, and the original network's, (B, ...)."""
        if self._kept[0] != layer.end:
            self._kept = layer.end, {}
        kept, count = self._kept[1], steps or self.steps
        targets = self._targets[1] if self._targets[0] == layer.end else {}
        room = KEPT - sum(value.nbytes for pair in kept.values() for value in pair)
        room -= sum(sent.nbytes for b in self._batches for sent in b.sent.values())
        shape = torch.Size(self.context.graph.shapes[layer.end])
        for images in self._batches:
            if images.number in kept:
                currents, target = kept[images.number]
            else:
                needed = 4 * len(images.ids) * (self.length + 1) * shape.numel()
                currents = self._end(images, layer, self.steps if needed <= room else count)
                known = targets.get(images.number)
                target = self._end(images, layer, None) if known is None else known
                if needed <= room:
                    kept[images.number] = currents, target
                    room -= currents.nbytes + target.nbytes
            yield currents[:count], target

    def _end(self, images: _Images, layer: Layer, steps: int | None) -> Tensor:
        """The value of `layer.end` at the first `steps`, or with None the original network's; all
        that it is made from is let go."""
        tensors, names = self.context.graph.tensors, reads_of(layer)
        if steps is None:
            plain = {n: v[None] for n, v in images.original.items() if n in names}
            return run_layer(layer, tensors, plain, end=True)[layer.end][0]
        sent = {n: v.values(steps) for n, v in images.sent.items() if n in names}
        return run_layer(layer, {**tensors, **self.plan.weights}, sent, end=True)[layer.end]

    def values(self, layer: Layer, steps: int | None = None) -> Pairs:
        """Per batch every value that `layer` reads or makes, by name: in the spiking network at
        the first `steps`, (T, B, ...) or (1, B, ...), and in the original one, (1, B, ...)."""
        count = steps or self.steps
        return self._ran(layer, lambda sent: sent.values(count))

    def averages(self, layer: Layer, at: Sequence[int]) -> Pairs:
        """What `values` gives, as means over the first t steps for each t of `at`, which rises:
        (len(at), B, ...) or (1, B, ...). A running maximum of means is the mean of what it sends,
        and everything else is affine, so that the steps themselves are not computed."""
        if any(node.role is Role.MAX_POOL and node.attrs.get("each_step") for node in layer.nodes):
            for own, original in self.values(layer, at[-1]):
                still = {name for name, value in own.items() if len(value) == 1}
                over = {n: own[n] if n in still else torch.stack(means(own[n], at)) for n in own}
                yield over, original
            return
        yield from self._ran(layer, lambda sent: sent.means(at), settled=True)

    def _ran(self, layer: Layer, read: Callable[[Sent], Tensor], *, settled: bool = False) -> Pairs:
        tensors = {**self.context.graph.tensors, **self.plan.weights}
        for images in self._batches:
            sent = {n: read(v) for n, v in images.sent.items() if n in reads_of(layer)}
            plain = {n: v[None] for n, v in images.original.items() if n in reads_of(layer)}
            own = run_layer(layer, tensors, sent, settled=settled)
            yield own, run_layer(layer, self.context.graph.tensors, plain)

    def ids(self) -> Iterator[Tensor]:
        """Per batch the numbers of its samples."""
        return (images.ids for images in self._batches)

    def numbers(self) -> Iterator[int]:
        """Per batch its number among all pieces."""
        return (images.number for images in self._batches)

    def fire(self, layer: Layer, ids: Tensor, currents: Tensor, steps: int | None = None) -> Tensor:
        """What the neurons of `layer` send in `steps` (default: all), (T, B, ...), under
        `currents`, as the plan says."""
        if layer.site is None:
            raise ValueError(f"'{layer.end}' is an output; no neurons stand there")
        sites = self.context.graph.sites
        planned = self.plan.sites[layer.site.name]
        currents = planned.driven(currents, range(steps or self.steps))
        neuron = population(self.context.neuron, layer.site, planned)
        if self.by_layers and isinstance(neuron, Patient):
            total = steps or self.steps
            return neuron.count(currents * total, total) * planned.threshold / total
        currents = currents.expand(steps or self.steps, *currents.shape[1:])
        keys = Keys(ids, list(sites).index(layer.site.name) + 1)
        return neuron.scan(currents, keys=keys)[0]

    def set_site(self, name: str, planned: SitePlan) -> None:
        """Change the plan of one site."""
        self.plan = replace(self.plan, sites={**self.plan.sites, name: planned})

    def set_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Replace tensors of the graph, in the spiking network only."""
        self.plan = replace(self.plan, weights={**self.plan.weights, **weights})
        self._kept = "", {}
