"""Graph + plan + neuron = a spiking network: every activation becomes neurons, or it is refused."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from convsnn.encoders import ENCODERS, Encoder
from convsnn.errors import ConfigError, UnsupportedError
from convsnn.graph import Graph
from convsnn.graph.fan_out import fan_out
from convsnn.graph.fits import without_functions
from convsnn.neurons import NEURONS, Neuron
from convsnn.neurons.base import sends_changes
from convsnn.readouts import READOUTS
from convsnn.spiking.kinds import kind_of
from convsnn.spiking.plan import Plan
from convsnn.spiking.population import population, site_neurons
from convsnn.spiking.schedule import Schedule, require_schedule
from convsnn.spiking.turns import require_together


@dataclass(frozen=True, repr=False)
class Spiking:
    """A spiking network: the graph it came from, the plan, and the neurons of every site.

    `neuron` and the encoder's spec are the texts that built them; `options` and `provenance` are
    what else a report has to say about how it was made. `readout` is the spec of how the
    outputs of t steps become one, such as `rising` (see `convsnn.readouts`), `schedule` when the
    neurons of a layer fire (see `convsnn.spiking.schedule`).
    """

    graph: Graph
    plan: Plan
    neuron: str
    encoder: Encoder
    provenance: Mapping[str, Any] = field(default_factory=dict)
    readout: str = "mean"
    schedule: Schedule = "steps"

    def __repr__(self) -> str:
        return (
            f"Spiking({len(self.graph.sites)} layers of '{self.neuron}', "
            f"{self.graph.neurons:,} neurons, {self.encoder.spec()} input"
            f"{', layer by layer' if self.schedule == 'layers' else ''})"
        )

    @cached_property
    def neurons(self) -> Mapping[str, Neuron]:
        """The neuron population of every site."""
        sites = self.graph.sites
        return {
            name: population(self.neuron, sites[name], p) for name, p in self.plan.sites.items()
        }

    @cached_property
    def kinds(self) -> Mapping[str, str]:
        """The name of the neuron of every site: `signed` where the activation needs it."""
        specs = site_neurons(self.neuron, self.graph)
        return {name: spec.partition(":")[0] for name, spec in specs.items()}

    @cached_property
    def kind(self) -> str:
        """Binary, graded, or partly analog: see `convsnn.spiking.kinds`."""
        return kind_of(self.graph, (neurons.graded for neurons in self.neurons.values()))

    @cached_property
    def differential(self) -> bool:
        """Whether any of its neurons send changes of a mean."""
        return any(sends_changes(neurons) for neurons in self.neurons.values())

    @property
    def plugins(self) -> tuple[str, ...]:
        """The plug-ins that its neurons, its encoder and its readout come from."""
        found = {
            NEURONS.plugin(self.neuron),
            ENCODERS.plugin(self.encoder.spec()),
            READOUTS.plugin(self.readout),
        }
        return tuple(sorted(plugin for plugin in found if plugin is not None))

    @cached_property
    def body(self) -> Graph:
        """The graph as it is simulated: with the weights that the plan replaces, and neurons in
        the place of the functions that they stand for."""
        tensors = {**self.graph.tensors, **self.plan.weights}
        return replace(without_functions(self.graph), tensors=tensors)

    @cached_property
    def fan_out(self) -> Mapping[str, Tensor]:
        """For each place that sends values, the synapses behind each of its elements."""
        return fan_out(self.graph)

    def copied(self) -> "Spiking":
        """The same with tensors and records of its own, which nobody else can write to."""
        sites = {
            name: replace(planned, **{k: v.detach().clone() for k, v in planned.tensors().items()})
            for name, planned in self.plan.sites.items()
        }
        weights = {name: t.detach().clone() for name, t in self.plan.weights.items()}
        tensors = {name: t.detach().clone() for name, t in self.graph.tensors.items()}
        return replace(
            self,
            graph=replace(self.graph, tensors=tensors),
            plan=replace(
                self.plan, sites=sites, weights=weights, record=deepcopy(self.plan.record)
            ),
            provenance=deepcopy(dict(self.provenance)),
        )

    def to(
        self, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> "Spiking":
        """The same network with its tensors on another device or in another float type."""
        plan = replace(
            self.plan,
            sites={name: p.to(dtype, device) for name, p in self.plan.sites.items()},
            weights={
                name: t.to(device=device, dtype=dtype) for name, t in self.plan.weights.items()
            },
        )
        return replace(self, graph=self.graph.to(dtype, device), plan=plan)


def scheduled(net: Spiking, schedule: str | None) -> Spiking:
    """`net` firing by another schedule (None: as it is), all else as it was made.

    Raises what `require_schedule` raises.
    """
    if schedule is None or schedule == net.schedule:
        return net
    readout = "mean" if schedule == "layers" else net.readout  # there is nothing to weigh
    known = require_schedule(
        schedule, graph=net.graph, neuron=net.neuron, encoder=net.encoder, readout=readout
    )
    method = {**net.provenance.get("method", {}), "readout": readout, "schedule": known}
    provenance = {**net.provenance, "method": method}
    return replace(net, schedule=known, readout=readout, provenance=provenance)


def to_spiking(
    graph: Graph,
    plan: Plan,
    *,
    neuron: str = "if",
    encoder: Encoder | str = "direct",
    provenance: Mapping[str, Any] | None = None,
    readout: str = "mean",
    schedule: str = "steps",
) -> Spiking:
    """Replace every activation of `graph` by neurons as `plan` says.

    Raises UnsupportedError where something would stay analog, CalibrationError where a threshold
    is missing or not usable, ConfigError for an unknown neuron, encoder, readout or schedule, or
    where these do not go together.
    """
    if READOUTS.create(readout).auto:  # a wrong spec is refused before any work
        raise ConfigError(f"the readout '{readout}' is chosen by convert", hint="use mean")
    graph.require_convertible()
    if not graph.sites:
        raise UnsupportedError("the network has no place where a neuron could stand")
    site_neurons(neuron, graph)  # before the plan is looked at: all layers it cannot stand for
    plan.check(graph)
    plan = replace(plan, sites={name: plan.sites[name] for name in graph.sites})
    made = ENCODERS.create(encoder) if isinstance(encoder, str) else encoder
    if require_together(neuron, made.spec(), readout):
        plan.require_turns()
    known = require_schedule(schedule, graph=graph, neuron=neuron, encoder=made, readout=readout)
    net = Spiking(graph, plan, neuron, made, dict(provenance or {}), readout, known)
    for name, neurons in net.neurons.items():  # a wrong neuron spec is refused here
        ceiling, top = graph.sites[name].ceiling, float(plan.sites[name].threshold.max())
        if ceiling is not None and neurons.spikes_per_step * top > ceiling * (1 + 1e-6):
            raise UnsupportedError(
                f"layer '{name}' is clipped at {ceiling:g}, but a '{neuron}' neuron can send "
                f"{neurons.spikes_per_step} times its threshold of {top:g} in a step",
                hint="use a neuron with one spike a step, such as if",
            )
    return net
