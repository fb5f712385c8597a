"""What the neurons of a trained network do with test samples, and what its values take."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from convsnn.measure.fitting import USUAL_BATCH
from convsnn.train.lif import LIF
from convsnn.train.network import TrainableNetwork
from convsnn.train.observed import histograms, memory
from zoo.data import Part, choose

WATCHED = 1_000  # test samples whose spikes are counted neuron by neuron


def observe(
    network: TrainableNetwork,
    part: Part,
    *,
    steps: int,
    device: torch.device,
    samples: int | None,
    seed: int,
) -> dict[str, Any]:
    """What the neurons send to test samples, by layer, up to `WATCHED` of these; thresholds below
    zero; the bits that learned values take."""
    numbers = choose(part, min(samples or WATCHED, WATCHED, len(part)), seed=seed)
    sites = {name: network.site(name) for name in network.graph.sites}
    return {
        "histograms": histograms(network, steps_first(part, numbers), steps=steps, device=device),
        "histogram_samples": len(numbers),
        "negative_thresholds": {
            name: int((site.threshold.value() < 0).sum())
            for name, site in sites.items()
            if isinstance(site, LIF)
        },
        "memory": memory(network),
    }


def steps_first(part: Part, numbers: Sequence[int]) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Batches of a part as training takes them."""
    for x, labels in part.batches(USUAL_BATCH, indices=numbers):
        yield (x if part.steps is None else x.movedim(1, 0)), labels
