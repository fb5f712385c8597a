"""Thresholds from the input current of every layer while the layers before it already spike.

    threshold(l) = factor * max over steps, samples and neurons of  z_l(t) = W_l y_{l-1}(t) + b_l

the loop of Spike-Norm (Sengupta et al. 2019), RMP-SNN and Hybrid, taken layer by layer: y_{l-1}
comes from neurons that have their threshold already. The published form adds up 0/1 spikes
without biases; here a spike carries its threshold, which is the same network in other units, and
biases keep their size. Where an activation has a negative side, z_l is taken through it and its
size counts.

As in the code of Hybrid's authors (`find_threshold`, `threshold_update`):

- `factor` scales thresholds in units of spikes, once all maxima are known. The size of a spike is
  the threshold of the layer before, so in units of activations layer l gets factor^l.
- Networks with branches are balanced up to the first of these, their stem. Behind it thresholds are
  1 in units of spikes: each is that of the last layer of the stem. `behind="balanced"` gives all
  layers their own largest current instead. Where a value before the first neurons is read twice
  there is no stem, and all are balanced.

Layers that do not depend on each other share a run. Each run starts at the input again, so the
work grows with the square of the depth and memory does not grow with the number of steps.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from calibrate.base import Context
from calibrate.statistics import largest_of_all, sizes
from calibrate.thresholds import site_plan
from convsnn.errors import CalibrationError
from convsnn.graph import Graph, Node
from convsnn.graph.ops import Role
from convsnn.neurons import Keys, Neuron, State
from convsnn.passes.edit import rebuild
from convsnn.simulate import simulate
from convsnn.spiking.network import Spiking
from convsnn.spiking.plan import Plan, SitePlan

Behind = Literal["unity", "balanced"]
STEPS = "time steps that are simulated for each layer; none: those of the conversion"
SAMPLES = "calibration images that are simulated, the first of them; none: all"
BEHIND = "behind the first branch: the threshold of the stem, as authors do it, or own currents"
FACTOR = "multiple of the largest current in units of the spikes that come in: factor^l in layer l"


def check_options(steps: int | None, samples: int | None, factor: float = 1.0) -> None:
    """Raise ValueError for a number of steps or images or a factor that cannot be used."""
    if steps is not None and steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    if samples is not None and samples < 1:
        raise ValueError(f"samples must be at least 1, not {samples}")
    if not 0 < factor < float("inf"):
        raise ValueError(f"factor must be positive, not {factor}")


def balanced(
    context: Context, plan: Plan, *, stage: str, neuron: str, options: Mapping[str, Any]
) -> Plan:
    """`plan` with the thresholds of `balance` for the `options` of a stage, and its record."""
    used = {**options, "steps": options["steps"] or context.steps}
    sites = balance(context, neuron=neuron, **used)
    return plan.with_sites(sites, {"stage": stage, **used, "neuron": neuron})


def balance(
    context: Context,
    *,
    steps: int,
    neuron: str,
    samples: int | None = None,
    behind: Behind = "unity",
    factor: float = 1.0,
) -> dict[str, SitePlan]:
    """Every site's threshold from its largest current in `steps` steps of `neuron` on the first
    `samples` images; see the module.

    The network is driven by `context.encoder`, whose samples are numbered through all batches, so
    that Poisson input does not depend on the batch size. Raises CalibrationError where a layer
    gets no positive current, one that is not finite, or nothing from the neurons before it.
    """
    sites, stem = context.graph.sites, stem_of(context.graph) if behind == "unity" else ()
    plans: dict[str, SitePlan] = {}
    scales: dict[str, float] = {}
    for depth, wave in enumerate(waves(context.graph), start=1):
        if stem and not set(wave) <= set(stem):
            break
        # without neurons before it the current of a constant input is the same at every step
        count = 1 if context.encoder.constant and not plans else steps
        found = _largest(context, plans, wave, steps=count, neuron=neuron, samples=samples)
        for name, top in found.items():
            if float(top) <= 0 and sites[name].levels is None:
                raise CalibrationError(
                    f"layer '{name}' gets no positive current in {steps} steps, so its threshold "
                    "would be zero",
                    hint="use more steps (steps=...) or more calibration images",
                )
            plans[name] = site_plan(sites[name], top[None], 0.0, top)
            scales[name] = factor**depth
    made = {}
    for name, site in sites.items():
        own = name if name in plans else stem[-1]
        top = plans[own].threshold
        made[name] = site_plan(site, top[None] * scales[own], 0.0, top)
    return made


def stem_of(graph: Graph) -> tuple[str, ...]:
    """The sites before the first value that is read twice, in order; none where the input is, and
    all where no value is."""
    readers = Counter(name for node in graph.nodes for name in graph.data_inputs(node))
    found: list[str] = []
    for node in graph.nodes:
        if node.role is Role.ACTIVATION:
            found.append(node.name)
        if readers[node.name] > 1:
            break
    return tuple(found)


def waves(graph: Graph) -> list[list[str]]:
    """The sites by the longest chain of sites before them; a wave depends on earlier ones only."""
    depth: dict[str, int] = {}
    found: list[list[str]] = []
    for node in graph.nodes:
        depth[node.name] = max((depth[name] for name in graph.data_inputs(node)), default=0)
        if node.role is Role.ACTIVATION:
            if depth[node.name] == len(found):
                found.append([])
            found[depth[node.name]].append(node.name)
            depth[node.name] += 1
    return found


@dataclass(frozen=True)
class _Relay:
    """Passes its current on, so that whoever observes the simulation sees it."""

    graded = True
    spikes_per_step = 1

    def scan(
        self, currents: Tensor, state: State | None = None, *, keys: Keys | None = None
    ) -> tuple[Tensor, State]:
        """See `Neuron.scan`."""
        del state, keys
        return currents, State(currents[-1], currents.new_ones(()))


@dataclass(frozen=True)
class _Partly(Spiking):
    """A network that spikes up to its `heads`, which only pass their current on."""

    heads: Sequence[str] = ()

    @cached_property
    def neurons(self) -> Mapping[str, Neuron]:
        """See `Spiking.neurons`."""
        return {**super().neurons, **dict.fromkeys(self.heads, _Relay())}

    @cached_property
    def fan_out(self) -> Mapping[str, Tensor]:
        """Nothing: synaptic operations are of no interest here, and counting them costs time."""
        return {}


def _largest(
    context: Context,
    plans: Mapping[str, SitePlan],
    wave: Sequence[str],
    *,
    steps: int,
    neuron: str,
    samples: int | None,
) -> dict[str, Tensor]:
    """The largest current of each site of `wave`, a tensor () each, behind the sites in `plans`."""
    graph = rebuild(replace(context.graph, outputs=tuple(wave)))
    unset = SitePlan(torch.ones(()), torch.zeros(()))
    net = _Partly(
        graph,
        Plan({name: plans.get(name, unset) for name in graph.sites}),
        neuron,
        context.encoder,
        heads=wave,
    )
    found: dict[str, Tensor] = {}
    fired: set[str] = set()

    def watch(node: Node, _: range, values: Tensor) -> None:
        if node.name in plans and node.name not in fired and bool(values.any()):
            fired.add(node.name)
        if node.name not in wave:
            return
        if not bool(values.amax().isfinite()):
            raise CalibrationError(
                f"layer '{node.name}': its input current is not finite on the calibration images",
                hint="check the weights and the scale of the images (--scale, --mean, --std)",
            )
        top = sizes(graph.sites[node.name], graph.activate(node.name, values)).amax()
        found[node.name] = torch.maximum(found.get(node.name, top), top)

    for first, batch in context.shown.some(samples):
        ids = torch.arange(first, first + len(batch), device=batch.device)
        simulate(net, batch, steps=steps, ids=ids, observe=watch)
    if not found:
        raise CalibrationError(
            "there are no calibration images", hint="give --calibration-samples at least 1"
        )
    found = {name: largest_of_all(context, found[name]) for name in wave}
    if plans:
        spiked = context.share.most(torch.tensor([int(name in fired) for name in plans])).tolist()
        fired = {name for name, yes in zip(plans, spiked, strict=True) if yes}
    near: dict[str, frozenset[str]] = {}  # the sites whose spikes reach a node directly
    for node in graph.nodes:
        before = frozenset[str]().union(*(near[name] for name in graph.data_inputs(node)))
        near[node.name] = frozenset({node.name}) if node.role is Role.ACTIVATION else before
        if node.name in wave and before and not before & fired:
            raise CalibrationError(
                f"layer '{node.name}': the neurons before it sent no spike in {steps} steps, so "
                "its largest current is not known",
                hint="use more steps (steps=...)",
            )
    return found
