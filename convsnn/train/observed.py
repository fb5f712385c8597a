"""What a log says of a network in training, by layer: thresholds, spikes, dead neurons, weights."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from convsnn.train.network import TrainableNetwork

SEEN = {"rates": "last_rate", "dead": "last_dead", "silent": "last_silent"}  # attributes of `LIF`


def describe(network: TrainableNetwork) -> dict[str, dict[str, float]]:
    """Mean threshold of every site, and what its neurons noticed of their last pass."""
    found = {"thresholds": {n: float(v.detach().mean()) for n, v in network.thresholds().items()}}
    for what, attribute in SEEN.items():
        seen = {name: getattr(network.site(name), attribute, None) for name in network.graph.sites}
        found[what] = {name: float(v) for name, v in seen.items() if isinstance(v, Tensor)}
    return found


def trained_weights(network: TrainableNetwork) -> Iterator[tuple[str, Tensor]]:
    """The weights of every layer by their names in the graph: in full where they are rounded."""
    for name, key in network.attributes().items():
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
