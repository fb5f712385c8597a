"""A look at a few samples: their answers over time, how active the layers are, and a few neurons.

What `record` keeps of whole layers would not fit into memory for large networks; this keeps the
counts of all layers, and what a few chosen neurons hold and send.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convsnn.graph import Node
from convsnn.simulate.layers import Fired, LayerPass
from convsnn.simulate.loop import Simulation
from convsnn.simulate.program import Program
from convsnn.spiking.network import Spiking
from convsnn.spiking.schedule import sorted_train


@dataclass(frozen=True)
class Trains:
    """Of some neurons of one layer at the first W steps, (W, B, k) each: spikes (sent values over
    the threshold), the potential after each step, and the threshold in force."""

    spikes: Tensor
    potentials: Tensor
    thresholds: Tensor


@dataclass(frozen=True)
class Glimpse:
    """`outputs` up to each step of `at`, (len(at), B, ...), of every output. By layer: `events`,
    spikes sent in all of the steps (B,), `maps` of where they came from, (B, height, width) summed
    over channels, and the `trains` of the neurons that were asked for."""

    outputs: tuple[Tensor, ...]
    events: Mapping[str, Tensor]
    maps: Mapping[str, Tensor]
    trains: Mapping[str, Trains]


def glimpse(
    net: Spiking,
    x: Tensor,
    *,
    steps: int,
    at: Sequence[int],
    neurons: Mapping[str, Tensor],
    window: int,
    mapped: Sequence[str] = (),
    ids: Tensor | None = None,
) -> Glimpse:
    """Run `net` on samples `x` (B, ...) in the float32 reference.

    `at` are the steps whose answers are kept, `neurons` places in the flattened layers whose trains
    of the first `window` steps are, `mapped` layers (channels, height, width). Raises what
    `simulate` raises.
    """
    if net.schedule == "layers":
        return _by_layers(
            net, x, steps=steps, at=at, neurons=neurons, window=window, mapped=mapped, ids=ids
        )
    maps: dict[str, Tensor] = {}
    sent: dict[str, list[Tensor]] = {name: [] for name in neurons}

    def watch(node: Node, now: range, value: Tensor) -> None:
        if node.name in mapped:
            where = (value != 0).sum((0, 2)).cpu()
            maps[node.name] = maps[node.name] + where if node.name in maps else where
        if node.name in sent and now.start < window:
            sent[node.name].append(
                value.flatten(2)[:, :, neurons[node.name].to(value.device)].cpu()
            )

    simulation = Simulation(Program(net), x, ids=ids, observe=watch)
    held: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in neurons}
    kept: list[list[Tensor]] = []
    wanted = set(at)

    def advance(now: range) -> None:
        answers = simulation.advance(now)
        rows = [place for place, step in enumerate(now) if step + 1 in wanted]
        kept.append([answer[rows].cpu() for answer in answers])

    for now in simulation.chunks(window, 1):
        advance(now)
        for name, places in neurons.items():
            state = simulation.state(name)
            shape = state.potential.shape
            pair = state.potential, state.threshold.expand(shape)
            potential, threshold = (v.flatten(1)[:, places.to(v.device)].cpu() for v in pair)
            held[name].append((potential, threshold))
    for now in simulation.chunks(steps, first=window):
        advance(now)
    trains = {}
    for name, pairs in held.items():
        potentials, thresholds = (torch.stack(part) for part in zip(*pairs, strict=True))
        trains[name] = Trains(torch.cat(sent[name]) / thresholds, potentials, thresholds)
    outputs = tuple(torch.cat(parts) for parts in zip(*kept, strict=True))
    events = {name: torch.cat(simulation.spikes[name]).sum(0).cpu() for name in net.graph.sites}
    return Glimpse(outputs, events, maps, trains)


def _by_layers(
    net: Spiking,
    x: Tensor,
    *,
    steps: int,
    at: Sequence[int],
    neurons: Mapping[str, Tensor],
    window: int,
    mapped: Sequence[str],
    ids: Tensor | None,
) -> Glimpse:
    """The same where each number of steps in `at` is a run of its own; neurons are those of the
    run of all `steps`, in the steps in which their layer fires."""
    going = LayerPass(Program(net), x, ids=ids)
    outputs: dict[str, list[Tensor]] = {name: [] for name in net.graph.outputs}
    events, maps, trains = dict[str, Tensor](), dict[str, Tensor](), dict[str, Trains]()
    most = max(neuron.spikes_per_step for neuron in net.neurons.values())  # as reports count
    with torch.no_grad():
        for total in at:
            answers = dict(going.values)
            for node, value, fired in going.run(total):
                answers[node.name] = value
                if fired is None or total != steps:
                    continue
                sent = torch.ceil(fired.counts.abs() / most)
                spikes = sent if fired.events is None else fired.events
                events[node.name] = spikes.flatten(1).sum(1).cpu()
                if node.name in mapped:
                    maps[node.name] = spikes.sum(1).cpu()
                if node.name in neurons and fired.events is None:
                    places = neurons[node.name].to(value.device)
                    trains[node.name] = _trains(net, node.name, fired, places, steps, window)
            for name, found in outputs.items():
                found.append(answers[name].cpu())
    together = tuple(torch.stack(found) for found in outputs.values())
    return Glimpse(together, events, maps, trains)


def _trains(
    net: Spiking, name: str, fired: Fired, places: Tensor, steps: int, window: int
) -> Trains:
    """What neurons at `places` hold and send in the first `window` of `steps` steps."""
    planned, most = net.plan.sites[name], net.neurons[name].spikes_per_step
    one = fired.counts[:1]

    def picked(value: Tensor) -> Tensor:
        """Of what broadcasts to one sample, (1, k)."""
        return value.expand(one.shape).flatten(1)[:, places]

    threshold = picked(planned.threshold)
    spikes = sorted_train(fired.counts.flatten(1)[:, places], range(window), total=steps, most=most)
    current = fired.current.flatten(1)[:, places]
    potentials = current + picked(planned.potential) - (spikes * threshold).cumsum(0)
    return Trains(spikes.cpu(), potentials.cpu(), threshold.expand_as(spikes).cpu())
