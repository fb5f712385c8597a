"""From a trained network back to a spiking network like any other."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from convsnn.encoders import Encoder
from convsnn.errors import ConfigError, UnsupportedError
from convsnn.graph import Graph
from convsnn.passes.batch_norm import fold_batch_norm
from convsnn.plan import Plan, SitePlan
from convsnn.rewrite import Spiking
from convsnn.rewrite import to_spiking as spiking_of
from convsnn.train.lif import LIF
from convsnn.train.network import TrainableNetwork


def to_spiking(
    network: TrainableNetwork,
    *,
    original: Graph | None = None,
    encoder: Encoder | str = "direct",
    record: tuple[Mapping[str, Any], ...] = (),
    provenance: Mapping[str, Any] | None = None,
) -> Spiking:
    """The spiking network that `network` is in eval mode; its simulation gives `predict`.

    With `original`, the graph that training started from, that stays the network's graph (whose
    answers count as the original network's) and trained tensors replace its own in the spiking
    network only. Without, the graph has the trained tensors, batch norm folded into them.
    Raises UnsupportedError for neurons that no simulation has, CalibrationError for a threshold
    that is not positive.
    """
    tensors = {name: _plain(tensor) for name, tensor in network.tensors().items()}
    if original is None:
        graph, weights = fold_batch_norm(replace(network.graph, tensors=tensors)), {}
    else:
        graph = original
        weights = {n: t for n, t in tensors.items() if not torch.equal(t, original.tensors[n])}
    neuron = neuron_of(network)
    shifts = network.shifts()
    sites = {}
    for name in network.graph.sites:
        lif = network.site(name)
        assert isinstance(lif, LIF)  # neuron_of has seen it
        shift = _plain(shifts[name]) if name in shifts else None
        sites[name] = SitePlan(_plain(lif.threshold.value()), _plain(lif.start()), shift)
    return spiking_of(
        graph,
        Plan(sites, weights, record),
        neuron=neuron,
        encoder=encoder,
        provenance=provenance,
        readout=network.readout,
    )


def neuron_of(network: TrainableNetwork) -> str:
    """The spec of the neurons that simulate the network's; UnsupportedError where none does."""
    found: dict[str, str] = {}
    for name in network.graph.sites:
        found.setdefault(_spec(name, network.site(name)), name)
    if len(found) > 1:
        raise ConfigError(
            "the layers have different neurons: "
            + ", ".join(f"'{spec}' in '{name}'" for spec, name in found.items())
        )
    return next(iter(found))


def _spec(name: str, module: object) -> str:
    if not isinstance(module, LIF) or module.lateral is not None or module.output != "spike":
        raise UnsupportedError(
            f"layer '{name}': its neurons send something else than spikes, which no simulation has",
            hint="train with output='spike' and without lateral input",
        )
    reset = "zero" if module.reset == "hard" else "soft"
    if (module.decay, reset, module.sends, module.strict) == (1, "soft", "threshold", False):
        return "if"
    strict = ",strict=true" if module.strict else ""
    return f"lif:decay={module.decay!r},reset={reset},sends={module.sends}{strict}"


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
