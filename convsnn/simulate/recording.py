"""Looking inside: what the neurons of chosen layers hold and send at every step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convsnn.errors import ConfigError
from convsnn.graph import Node
from convsnn.registry import nearest
from convsnn.simulate.layers import LayerPass
from convsnn.simulate.loop import Simulation
from convsnn.simulate.program import Program
from convsnn.spiking.network import Spiking
from convsnn.spiking.schedule import sorted_train


@dataclass(frozen=True)
class Recording:
    """What happened in a run of T steps on B images.

    `outputs`: the answer up to each step, (T, B, ...), of every output. By layer: `values`, what
    it sent in units of the source network's activations (in differential form: how it changed the
    mean, times the step), `potentials` after each step, `thresholds` in force, each (T, B, *shape)
    or broadcasting to it. Of a network that fires layer by layer
    there is one answer, (1, B, ...), and the steps of a layer are those in which it fires.
    """

    outputs: tuple[Tensor, ...]
    values: Mapping[str, Tensor]
    potentials: Mapping[str, Tensor]
    thresholds: Mapping[str, Tensor]

    @property
    def spikes(self) -> dict[str, Tensor]:
        """Spikes of every layer, (T, B, *shape): what it sent over its threshold, so 0 or 1 for
        plain neurons."""
        return {name: sent / self.thresholds[name] for name, sent in self.values.items()}


def record(
    net: Spiking, x: Tensor, *, steps: int, layers: Sequence[str], ids: Tensor | None = None
) -> Recording:
    """Run `net` on images `x` (B, *input shape) in the float32 reference, and watch `layers`.

    `layers` are names of layers of neurons. Raises ConfigError for one that there is not, and what
    `simulate` raises.
    """
    for name in layers:
        if name not in net.graph.sites:
            raise ConfigError(
                f"there is no layer of neurons '{name}'", hint=nearest(name, net.graph.sites)
            )
    if net.schedule == "layers":
        return _record_layers(net, x, steps=steps, layers=layers, ids=ids)
    sent: dict[str, list[Tensor]] = {name: [] for name in layers}

    def watch(node: Node, steps: range, value: Tensor) -> None:
        del steps
        if node.name in sent:
            sent[node.name].append(value)

    simulation = Simulation(Program(net), x, ids=ids, observe=watch, count=False)
    outputs: list[list[Tensor]] = []
    potentials: dict[str, list[Tensor]] = {name: [] for name in layers}
    thresholds: dict[str, list[Tensor]] = {name: [] for name in layers}
    for chunk in simulation.chunks(steps, 1):
        outputs.append(simulation.advance(chunk))
        for name in layers:
            state = simulation.state(name)
            potentials[name].append(state.potential.clone())
            shape = state.potential.shape
            thresholds[name].append(state.threshold.expand(shape).clone())
    return Recording(
        tuple(torch.cat(parts) for parts in zip(*outputs, strict=True)),
        {name: torch.cat(parts) for name, parts in sent.items()},
        {name: torch.stack(parts) for name, parts in potentials.items()},
        {name: torch.stack(parts) for name, parts in thresholds.items()},
    )


def _record_layers(
    net: Spiking, x: Tensor, *, steps: int, layers: Sequence[str], ids: Tensor | None
) -> Recording:
    """As `record`: what each layer sends once all of its input has come, and what it has left."""
    going = LayerPass(Program(net), x, ids=ids)
    values, potentials, thresholds = dict[str, Tensor](), dict[str, Tensor](), dict[str, Tensor]()
    answers = dict(going.values)
    with torch.no_grad():
        for node, value, fired in going.run(steps):
            answers[node.name] = value
            if fired is None or node.name not in layers:
                continue
            planned, most = net.plan.sites[node.name], net.neurons[node.name].spikes_per_step
            spikes = sorted_train(fired.counts, range(steps), total=steps, most=most)
            sent = spikes * planned.threshold
            values[node.name] = sent
            potentials[node.name] = fired.current + planned.potential - sent.cumsum(0)
            thresholds[node.name] = planned.threshold.expand_as(sent)
    outputs = tuple(answers[name][None] for name in net.graph.outputs)
    return Recording(outputs, values, potentials, thresholds)
