"""Runs a spiking network and remembers, per neuron, the mean input it got and what it sent.

Memory does not grow with the number of steps. Sums are of double precision, where equal spikes
add up exactly, so that chunks of any size give the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from convsnn.errors import ConfigError
from convsnn.neurons import Keys, Neuron, State
from convsnn.neurons.base import Patient, sends_changes
from convsnn.simulate import CHUNK_ELEMENTS, Program, Run, simulate
from convsnn.simulate.layers import LayerPass
from convsnn.spiking.network import Spiking
from convsnn.spiking.turns import takes_turns


def total(values: Tensor) -> Tensor:
    """Sum over the steps of (Tc, B, ...) in float64; ten times faster than `sum(0, dtype=...)`."""
    found = torch.zeros(values.shape[1:], dtype=torch.float64, device=values.device)
    for value in values:
        found += value
    return found


@dataclass(frozen=True)
class Heard:
    """What a population did in `steps` steps, (B, ...): summed `current` and its bounds, what it
    `sent` in all, and which neurons `fired` at least once."""

    steps: int
    current: Tensor
    low: Tensor
    high: Tensor
    sent: Tensor
    fired: Tensor

    @staticmethod
    def of(currents: Tensor, sent: Tensor) -> "Heard":
        """From the steps of a chunk, (Tc, B, ...) both."""
        return Heard(
            len(currents),
            total(currents),
            currents.amin(0),
            currents.amax(0),
            total(sent),
            (sent.amax(0) != 0) | (sent.amin(0) != 0),
        )

    def then(self, later: "Heard") -> "Heard":
        """This and what came after it."""
        return Heard(
            self.steps + later.steps,
            self.current + later.current,
            torch.minimum(self.low, later.low),
            torch.maximum(self.high, later.high),
            self.sent + later.sent,
            self.fired | later.fired,
        )

    @property
    def mean_current(self) -> Tensor:
        """The mean over all steps; a current that never changed is itself, without rounding."""
        mean = (self.current / self.steps).to(self.low.dtype)
        return torch.clamp(mean, self.low, self.high)

    @property
    def mean_output(self) -> Tensor:
        """The mean over all steps, float64."""
        return self.sent / self.steps


@dataclass
class _Ear:
    """A population that is listened to; see `Neuron`."""

    neuron: Neuron
    graded: bool
    spikes_per_step: int
    heard: Heard | None = None

    def scan(
        self, currents: Tensor, state: State | None = None, *, keys: Keys | None = None
    ) -> tuple[Tensor, State]:
        """See `Neuron.scan`."""
        out, after = self.neuron.scan(currents, state, keys=keys)
        self._hear(currents, out)
        return out, after

    @property
    def differential(self) -> bool:
        """See `Changing`."""
        return sends_changes(self.neuron)

    def changes(
        self, currents: Tensor, state: Any = None, *, keys: Keys | None = None
    ) -> tuple[Tensor, Tensor, Any]:
        """See `Changing.changes`."""
        assert sends_changes(self.neuron)
        spikes, means, after = self.neuron.changes(currents, state, keys=keys)
        self._hear(currents, means[:-1] + spikes)
        return spikes, means, after

    def _hear(self, currents: Tensor, out: Tensor) -> None:
        new = Heard.of(currents, out)
        self.heard = new if self.heard is None else self.heard.then(new)


@dataclass(frozen=True, repr=False)
class _Listening(Spiking):
    """A network whose populations are listened to."""

    ears: Mapping[str, _Ear] = field(default_factory=dict)

    @cached_property
    def neurons(self) -> Mapping[str, Neuron]:
        """See `Spiking.neurons`."""
        return self.ears

    @cached_property
    def fan_out(self) -> Mapping[str, Tensor]:
        """Nothing: counting synaptic operations costs time, and nobody reads them here."""
        return {}


def listen(net: Spiking, x: Tensor, *, steps: int, ids: Tensor) -> tuple[Run, dict[str, Heard]]:
    """Simulate `net` on `x` as `simulate` does; per site also what its neurons got and sent.

    Currents include the shift of the plan. Raises ConfigError where layers take turns, for what
    they send in all is nothing, and what `simulate` raises.
    """
    if takes_turns(net.neuron):
        raise ConfigError(
            f"layers of '{net.neuron}' send pairs of spikes, whose mean says nothing of a value",
            hint="convsnn evaluate scores such a network; diagnose one of --neuron if",
        )
    if net.schedule == "layers":
        return _listen_to_layers(net, x, steps=steps, ids=ids)
    ears = {n: _Ear(e, e.graded, e.spikes_per_step) for n, e in net.neurons.items()}
    ear = _Listening(
        net.graph, net.plan, net.neuron, net.encoder, net.provenance, net.readout, ears=ears
    )
    result = simulate(ear, x, steps=steps, ids=ids)
    return result, {name: e.heard for name, e in ears.items() if e.heard is not None}


def _listen_to_layers(
    net: Spiking, x: Tensor, *, steps: int, ids: Tensor
) -> tuple[Run, dict[str, Heard]]:
    program = Program(net)
    answers: dict[str, Tensor] = {}
    heard = {}
    with torch.no_grad():
        going = LayerPass(program, x, ids=ids)
        for node, value, fired in going.run(steps):
            if fired is not None:
                mean = fired.current / steps
                heard[node.name] = Heard(
                    steps,
                    fired.current.double(),
                    mean,
                    mean,
                    fired.counts.double() * net.plan.sites[node.name].threshold.double(),
                    fired.counts != 0,
                )
            answers[node.name] = value
    outputs = tuple({**going.values, **answers}[name][None] for name in net.graph.outputs)
    return Run(outputs, {}, {}, (steps,)), heard


def steady(
    neuron: Neuron, current: Tensor, *, steps: int, keys: Keys, schedule: str = "steps"
) -> Tensor:
    """Mean output, (B, ...) in float64, of `steps` steps under the constant `current` (B, ...)."""
    if schedule == "layers" and isinstance(neuron, Patient):
        counts = neuron.count(current * steps, steps).double()
        return counts * torch.as_tensor(neuron.threshold).double() / steps
    size = max(1, CHUNK_ELEMENTS // max(1, current.numel()))
    summed = torch.zeros_like(current, dtype=torch.float64)
    state = None
    with torch.no_grad():
        for first in range(0, steps, size):
            count = min(size, steps - first)
            sent, state = neuron.scan(current.expand(count, *current.shape), state, keys=keys)
            summed += total(sent)
    return summed / steps
