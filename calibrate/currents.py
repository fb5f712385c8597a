"""Thresholds from the input current of every layer while the layers before it already spike.

    threshold(l) = factor * max over steps, samples and neurons of  z_l(t) = W_l y_{l-1}(t) + b_l

the loop of Spike-Norm (Sengupta et al. 2019), RMP-SNN and Hybrid, taken layer by layer: y_{l-1}
comes from neurons that have their threshold already. The published form adds up 0/1 spikes
without biases; here a spike carries its threshold, which is the same network in other units, and
biases keep their size. Where an activation has a negative side, z_l is taken through it and its
size counts. `factor` applies at the end, when all maxima are known.

Layers that do not depend on each other share a run. Each run starts at the input again, so the
work grows with the square of the depth and memory does not grow with the number of steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from calibrate.base import Context
from calibrate.statistics import sizes
from calibrate.thresholds import site_plan
from convsnn.errors import CalibrationError
from convsnn.graph import Graph, Node
from convsnn.graph.ops import Role
from convsnn.neurons import Keys, Neuron, State
from convsnn.passes.edit import rebuild
from convsnn.simulate import simulate
from convsnn.spiking.network import Spiking
from convsnn.spiking.plan import Plan, SitePlan


def check_options(steps: int | None, factor: float = 1.0) -> None:
    """Raise ValueError for a number of steps or a factor that cannot be used."""
    if steps is not None and steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    if not 0 < factor < float("inf"):
        raise ValueError(f"factor must be positive, not {factor}")


def balance(
    context: Context, *, steps: int, neuron: str, factor: float = 1.0
) -> dict[str, SitePlan]:
    """Every site's threshold, `factor` times its largest current in `steps` steps of `neuron`.

    The network is driven by `context.encoder`, whose samples are numbered through all batches, so
    that Poisson input does not depend on the batch size. Raises CalibrationError where a layer
    gets no positive current or one that is not finite.
    """
    sites = context.graph.sites
    plans: dict[str, SitePlan] = {}
    for wave in waves(context.graph):
        # without neurons before it the current of a constant input is the same at every step
        count = 1 if context.encoder.constant and not plans else steps
        for name, top in _largest(context, plans, wave, steps=count, neuron=neuron).items():
            if float(top) <= 0 and sites[name].levels is None:
                raise CalibrationError(
                    f"layer '{name}' gets no positive current in {steps} steps, so its threshold "
                    "would be zero",
                    hint="use more steps (steps=...) or more calibration images",
                )
            plans[name] = site_plan(sites[name], top[None], 0.0, top)
    return {
        name: site_plan(sites[name], planned.threshold[None] * factor, 0.0, planned.threshold)
        for name, planned in plans.items()
    }


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
    context: Context, plans: Mapping[str, SitePlan], wave: Sequence[str], *, steps: int, neuron: str
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

    def watch(node: Node, _: range, values: Tensor) -> None:
        if node.name not in wave:
            return
        if not bool(values.amax().isfinite()):
            raise CalibrationError(
                f"layer '{node.name}': its input current is not finite on the calibration images",
                hint="check the weights and the scale of the images (--scale, --mean, --std)",
            )
        top = sizes(graph.sites[node.name], graph.activate(node.name, values)).amax()
        found[node.name] = torch.maximum(found.get(node.name, top), top)

    seen = 0
    for batch in context.batches:
        ids = torch.arange(seen, seen + len(batch), device=batch.device)
        simulate(net, batch, steps=steps, ids=ids, observe=watch)
        seen += len(batch)
    if not seen:
        raise CalibrationError(
            "there are no calibration images", hint="give --calibration-samples at least 1"
        )
    return found
