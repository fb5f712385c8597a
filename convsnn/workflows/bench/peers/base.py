"""What is measured: one way in which one package runs a spiking network."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from convsnn.errors import Blocker, UnsupportedError
from convsnn.spiking.network import Spiking

Run = Callable[[int], torch.Tensor]


@dataclass(frozen=True)
class Contender:
    """A way of running one network on one batch.

    `mode` says in words which way it is. `prepare` does whatever a user does once and gives a
    function: number of steps -> the mean answer of that many steps from rest, (B, classes).
    """

    mode: str
    precision: str
    prepare: Callable[[], Run]


def require_plain(net: Spiking) -> None:
    """Refuse what the peers have no word for: other neurons and other ways of starting."""
    found = [
        Blocker(name, "neuron", "only plain neurons that start from rest can be compared")
        for name, site in net.plan.sites.items()
        if net.kinds[name] != "if"
        or site.added_up(1) is not None
        or bool(site.potential.any())
        or net.neurons[name].spikes_per_step != 1
    ]
    if found or not net.encoder.constant:
        raise UnsupportedError("the peers run plain neurons on a constant input only", found)
