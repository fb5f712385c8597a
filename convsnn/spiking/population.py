"""Which neurons stand at a site: what the user asked for, or what the site's activation needs."""

from collections.abc import Mapping
from inspect import signature
from typing import Any

import torch

from convsnn.errors import Blocker, ConfigError, UnsupportedError
from convsnn.graph import Graph, Site
from convsnn.neurons import NEURONS, Neuron
from convsnn.registry import split_spec
from convsnn.spiking.plan import SitePlan

SIGNED = "signed"
CODING = "levels"  # the neurons of coding sites; see `convsnn.neurons.levels`
_GIVE_WAY = ("if", "burst", "signed")  # rectifying neurons beside which others may code


def _takes(name: str, key: str) -> bool:
    return key in signature(NEURONS.get(name)).parameters


def site_neuron(spec: str, site: Site) -> str | None:
    """The spec of the neurons of `site` where `spec` is asked for; None where there are none.

    A site with a slope needs signed spikes: plain integrate-and-fire gives way to `signed`. One
    that codes what smooth functions give needs several sizes of them: it gets `levels`.
    """
    name, options = split_spec(spec)
    if site.kind == "code" and name != CODING:
        return CODING if name in _GIVE_WAY and options.get("reset", "soft") == "soft" else None
    if not site.signed or _takes(name, "slope"):
        return spec
    return SIGNED if name == "if" and options.get("reset", "soft") == "soft" else None


def site_neurons(spec: str, graph: Graph) -> Mapping[str, str]:
    """The spec of the neurons of every site; UnsupportedError names all that have none."""
    sites = graph.sites
    found = {name: site_neuron(spec, site) for name, site in sites.items()}
    missing = [name for name, chosen in found.items() if chosen is None]
    if missing:
        reason = f"its negative side needs signed spikes, which the neuron '{spec}' cannot send"
        remedy = "use the neuron 'signed' (or 'if', which gives way to it at such layers)"
        if any(sites[name].kind == "code" for name in missing):
            reason = f"it codes values that are not binary, which the neuron '{spec}' cannot"
            remedy = "use the neuron 'levels' (or 'if', which gives way to it at such layers)"
        nodes = [graph.by_name[name] for name in missing]
        raise UnsupportedError(
            f"the neuron '{spec}' cannot stand for {', '.join(missing)}: {reason}",
            [Blocker(n.name, n.op, reason, remedy, n.source) for n in nodes],
            hint=remedy,
        )
    return {name: chosen for name, chosen in found.items() if chosen is not None}


def population(spec: str, site: Site, planned: SitePlan) -> Neuron:
    """The neurons of one site, where `spec` is asked for.

    Raises UnsupportedError where they cannot have the site's activation, ConfigError for an
    unknown neuron or a planned quantity that it does not have.
    """
    chosen = site_neuron(spec, site)
    if chosen is None:
        raise UnsupportedError(
            f"layer '{site.name}': the neuron '{spec}' cannot send signed spikes",
            hint="use the neuron 'signed' or 'if'",
        )
    known = planned.tensors()
    for key in ("shift", "timed_bias"):  # these belong to the current, not to the neuron
        known.pop(key, None)
    name, _ = split_spec(chosen)
    for key in known.keys() - signature(NEURONS.get(name)).parameters.keys():
        raise ConfigError(f"neuron '{name}' has no {key}, which the calibration sets")
    if site.slope is not None:
        known["slope"] = site.slope
    if site.ceiling is not None and _takes(name, "ceiling"):
        known["ceiling"] = torch.tensor(site.ceiling)
    given: dict[str, Any] = dict(known)
    if _takes(name, "row"):
        given["row"] = len(site.shape) == 1
    return NEURONS.create(chosen, **given)
