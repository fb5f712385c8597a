"""What a log says of a network in training, by layer: thresholds, spikes, dead neurons, weights."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from convsnn.train.lif import LIF
from convsnn.train.network import TrainableNetwork

SEEN = {"rates": "last_rate", "dead": "last_dead", "silent": "last_silent"}  # attributes of `LIF`
BINS = 20  # of a histogram


def describe(network: TrainableNetwork) -> dict[str, dict[str, float]]:
    """Mean threshold of every site, and what its neurons noticed of their last pass."""
    found = {"thresholds": {n: float(v.detach().mean()) for n, v in network.thresholds().items()}}
    for what, attribute in SEEN.items():
        seen = {name: getattr(network.site(name), attribute, None) for name in network.graph.sites}
        found[what] = {name: float(v) for name, v in seen.items() if isinstance(v, Tensor)}
    return found


def trained_weights(network: TrainableNetwork) -> Iterator[tuple[str, Tensor]]:
    """The weights of every layer by their names in the graph: in full where they are rounded."""
    for name, key in network.attributes.items():
        made = parametrize.is_parametrized(network, key)
        tensor = getattr(network, key)
        if made:
            held = getattr(network.parametrizations, key)
            tensor = getattr(held, "original", tensor)
        if tensor.dim() > 1 and (made or isinstance(tensor, nn.Parameter)):
            yield name, tensor


@torch.no_grad()
def moved(network: TrainableNetwork, first: Mapping[str, Tensor]) -> dict[str, float]:
    """How far each layer's weights are from `first`, as a part of the size of these."""
    return {
        name: float((now - first[name].to(now)).norm() / first[name].norm().clamp(min=1e-12))
        for name, now in trained_weights(network)
    }


@torch.no_grad()
def histograms(
    network: TrainableNetwork,
    batches: Iterable[tuple[Tensor, Tensor | None]],
    *,
    steps: int,
    device: torch.device | str = "cpu",
) -> dict[str, dict[str, Any]]:
    """By layer, how many neurons send how many spikes to a sample (B, ...) or sequence (T, B, ...)
    on average: `edges` of the bins, `neurons` in each, the part of them that sends none, and the
    `spikes` of all.
    """
    before = network.training
    network.to(device).eval()
    sites = {name: network.site(name) for name in network.graph.sites}
    populations = {name: site for name, site in sites.items() if isinstance(site, LIF)}
    totals: dict[str, Tensor] = {}
    seen = 0
    for x, _ in batches:
        network(x.to(device), steps=steps)
        seen += x.shape[x.dim() - 1 - len(network.graph.input.attrs["shape"])]
        for name, lif in populations.items():
            if lif.last_counts is not None:
                totals[name] = totals.get(name, 0.0) + lif.last_counts.double().cpu()
    network.train(before)
    return {name: _histogram(total / max(1, seen)) for name, total in totals.items()}


def _histogram(means: Tensor) -> dict[str, Any]:
    top = max(float(means.max()), 1e-9)
    counts = torch.histc(means.float().flatten(), BINS, 0, top)
    return {
        "edges": [top * place / BINS for place in range(BINS + 1)],
        "neurons": [int(count) for count in counts],
        "dead": float((means == 0).double().mean()),
        "spikes": float(means.sum()),
    }


def memory(network: TrainableNetwork) -> dict[str, int]:
    """What the network's learned values take: `weights` of `bits` each, `others` of 32, and how
    many bits these are; files hold every value in 32 (`stored`)."""
    rounded = {
        name: tensor
        for name, tensor in network.tensors().items()
        if parametrize.is_parametrized(network, network.attributes[name])
    }
    bits = {getattr(m, "bits", 32) for m in network.modules()} - {32}
    few = next(iter(bits)) if bits else 32
    learned = dict(network.named_weights()) | rounded
    many = sum(t.numel() for n, t in learned.items() if n in rounded or t.dim() > 1)
    others = sum(t.numel() for t in learned.values()) - many
    others += sum(p.numel() for lif in network.sites for p in lif.parameters())
    return {
        "weights": many,
        "bits": few,
        "others": others,
        "total": many * few + others * 32,
        "stored": (many + others) * 32,
    }
