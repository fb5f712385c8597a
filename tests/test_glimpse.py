"""A look at a few samples keeps what a recording of everything holds."""

import pytest
import torch
from conftest import dyadic_plan, images, random_graph

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
