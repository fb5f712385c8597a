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
from convsnn.spiking.network import Spiking
from convsnn.spiking.network import to_spiking as spiking_of
from convsnn.spiking.plan import Plan, SitePlan
from convsnn.train.lif import LIF, Output
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
        lateral = None if lif.lateral is None else _plain(lif.lateral.kernel).flatten()
        sites[name] = SitePlan(
            _plain(lif.threshold.value()), _plain(lif.start()), shift, lateral=lateral
        )
    return spiking_of(
        graph,
        Plan(sites, weights, record),
        neuron=neuron,
        encoder=encoder,
        provenance=provenance,
        readout=network.readout,
        schedule=network.schedule,
    )


def neuron_of(network: TrainableNetwork) -> str:
    """The spec of the neurons that simulate the network's; UnsupportedError where none does."""
    found: dict[str, str] = {}
    rows = _rows(network)
    for name in network.graph.sites:
        found.setdefault(_spec(name, network.site(name), rows), name)
    if len(found) > 1:
        raise ConfigError(
            "the layers have different neurons: "
            + ", ".join(f"'{spec}' in '{name}'" for spec, name in found.items())
        )
    return next(iter(found))


def _rows(network: TrainableNetwork) -> Output | None:
    """What the neurons of fully connected layers send, where these are the rows of `ltmd`; None
    where they are neurons like all others.

    UnsupportedError for what no neuron of a simulation is.
    """
    sites = network.graph.sites
    modules = {name: network.site(name) for name in sites}
    known = {name: module for name, module in modules.items() if isinstance(module, LIF)}
    special = [n for n, lif in known.items() if lif.lateral is not None or lif.output != "spike"]
    if not special:
        return None
    outputs = {lif.output for name, lif in known.items() if len(sites[name].shape) == 1}
    odd = [
        name
        for name in special
        if len(sites[name].shape) != 1 or _source(known[name]) == "feedforward"
    ]
    if odd or len(outputs) > 1:
        raise UnsupportedError(
            f"layer(s) {', '.join(odd or special)}: no simulation has such neurons",
            hint="let all fully connected layers send the same, with lateral input from what "
            "they sent, and all others spikes without lateral input",
        )
    return outputs.pop()


def _source(lif: LIF) -> str | None:
    return None if lif.lateral is None else lif.lateral.source


def _spec(name: str, module: object, rows: Output | None) -> str:
    if not isinstance(module, LIF):
        raise UnsupportedError(f"layer '{name}' has no neurons that a simulation knows")
    reset = "zero" if module.reset == "hard" else "soft"
    plain = (module.decay, reset, module.sends, module.strict) == (1, "soft", "threshold", False)
    if plain and rows is None:
        return "if"
    strict = ",strict=true" if module.strict else ""
    if module.synapse is not None:
        return (
            f"cuba:decay={module.decay!r},current={module.synapse.decay!r},"
            f"delay={module.synapse.delay},reset={reset},sends={module.sends}{strict}"
        )
    options = f"decay={module.decay!r},reset={reset},sends={module.sends}{strict}"
    return f"lif:{options}" if rows is None else f"ltmd:{options},outputs={rows}"


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
