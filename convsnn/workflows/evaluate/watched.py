"""Some neurons of one sample: when they fire, and the potential of one of a layer beside its
threshold."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from convsnn.graph import Graph
from convsnn.random import uniform
from convsnn.report.page.examples import rounded
from convsnn.simulate import Glimpse

WINDOW = 128  # steps at most
LAYERS = 8  # of a deep network so many, evenly from the first to the last
NEURONS = 6  # shown of a layer
DRAWN = 48  # of which these are
TRACED = 4  # layers of which one potential is shown
_SITE = -3  # of draws


def spread(names: list[str], most: int) -> list[str]:
    """`most` of the names, the first and the last among them."""
    if len(names) <= most:
        return names
    places = {round(i * (len(names) - 1) / (most - 1)) for i in range(most)}
    return [names[place] for place in sorted(places)]


def draw_neurons(graph: Graph, seed: int) -> dict[str, Tensor]:
    """By layer the places of neurons to watch, in random order, each once."""
    found = {}
    for number, name in enumerate(spread(list(graph.sites), LAYERS)):
        size = torch.Size(graph.shapes[name]).numel()
        keys = uniform(seed, torch.arange(DRAWN), _SITE, range(number, number + 1), ())[0]
        places = (keys * size).long() if size > DRAWN else keys[:size].argsort()
        found[name] = torch.tensor(list(dict.fromkeys(places.tolist())))
    return found


def watched_section(seen: Glimpse, row: int, neurons: Mapping[str, Tensor]) -> dict[str, Any]:
    """What stands under `watched` of the sample at `row`."""
    names = [name for name in neurons if name in seen.trains]
    traced = spread(names, TRACED)
    return {"layers": [_layer(seen, row, neurons, name, name in traced) for name in names]}


def _layer(
    seen: Glimpse,
    row: int,
    neurons: Mapping[str, Tensor],
    name: str,
    traced: bool,
) -> dict[str, Any]:
    trains, places = seen.trains[name], neurons[name]
    spikes = trains.spikes[:, row]
    fired = (spikes != 0).any(0)
    order = [*torch.nonzero(fired).flatten().tolist(), *torch.nonzero(~fired).flatten().tolist()]
    kept = order[:NEURONS]
    found: dict[str, Any] = {
        "name": name,
        "drawn": len(places),
        "fired": int(fired.sum()),
        "neurons": [int(places[column]) for column in kept],
        "spikes": [(torch.nonzero(spikes[:, column]).flatten() + 1).tolist() for column in kept],
        "trace": None,
    }
    if traced:
        potential, threshold = (
            part[:, row, kept[0]].tolist() for part in (trains.potentials, trains.thresholds)
        )
        found["trace"] = {"potential": rounded(potential), "threshold": rounded(threshold)}
    return found
