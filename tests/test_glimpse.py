"""A look at a few samples keeps what a recording of everything holds."""

import pytest
import torch
from conftest import dyadic_plan, images, random_graph

from convsnn.graph import Graph
from convsnn.simulate import glimpse, record, simulate
from convsnn.spiking.network import to_spiking
from convsnn.spiking.schedule import scored_steps


@pytest.mark.parametrize("schedule", ["steps", "layers"])
@pytest.mark.parametrize(("seed", "steps", "window"), [(0, 6, 6), (1, 12, 5)])
def test_it_is_part_of_a_recording(schedule: str, seed: int, steps: int, window: int) -> None:
    graph = random_graph(seed)
    net = to_spiking(graph, dyadic_plan(graph, seed), schedule=schedule)
    x, names = images(graph, seed, 3), list(graph.sites)
    whole = record(net, x, steps=steps, layers=names)
    places = {name: torch.tensor([0, torch.Size(graph.shapes[name]).numel() - 1]) for name in names}
    spatial = [name for name in names if len(graph.shapes[name]) == 3]
    at = [step for step in scored_steps(schedule, steps) if step != 3]
    seen = glimpse(net, x, steps=steps, at=at, neurons=places, window=window, mapped=spatial)
    known = scored_steps(schedule, steps)
    run = simulate(net, x, steps=steps, at=known)
    for mine, theirs in zip(seen.outputs, run.outputs, strict=True):
        assert torch.equal(mine, theirs[[known.index(step) for step in at]])
    for name in names:
        spikes = whole.spikes[name]
        assert torch.equal(seen.events[name].double(), spikes.flatten(2).sum((0, 2)).double())
        if name in spatial:
            assert torch.equal(seen.maps[name].double(), spikes.sum((0, 2)).double())
        trains, chosen = seen.trains[name], places[name]
        assert torch.equal(trains.spikes, spikes.flatten(2)[:window, :, chosen])
        assert torch.equal(trains.potentials, whole.potentials[name].flatten(2)[:window, :, chosen])
        shape = whole.potentials[name].shape
        thresholds = whole.thresholds[name].expand(shape).flatten(2)[:window, :, chosen]
        assert torch.equal(trains.thresholds, thresholds)


@pytest.mark.parametrize("schedule", ["steps", "layers"])
def test_spikes_are_counted_as_a_run_counts_them_where_neurons_send_several(schedule: str) -> None:
    seed = next(n for n in range(50) if _unlimited(random_graph(n)))
    graph = random_graph(seed)
    plan = dyadic_plan(graph, seed)
    net = to_spiking(graph, plan, neuron="burst:gamma=3", schedule=schedule)
    x = images(graph, seed, 3)
    seen = glimpse(net, x, steps=5, at=[5], neurons={}, window=0, mapped=[])
    run = simulate(net, x, steps=5, at=[5])
    for name in graph.sites:
        assert torch.equal(seen.events[name].double(), run.spikes[name].sum(0).double().cpu())


def _unlimited(graph: Graph) -> bool:
    return all(site.ceiling is None and not site.signed for site in graph.sites.values())
