"""A spiking network with some thresholds set by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from convsnn.errors import ConfigError
from convsnn.graph import Site
from convsnn.registry import nearest
from convsnn.spiking.network import Spiking


def with_thresholds(
    net: Spiking, thresholds: Mapping[str, Tensor | float | Sequence[float]]
) -> Spiking:
    """`net` with other thresholds in the named layers, in units of the original's activations.

    Each is one number, one a channel, or a tensor that broadcasts to a sample. Initial potentials
    keep their part of the threshold, and the plan records what was set. Raises ConfigError for no
    mapping, an unknown layer, a shape that does not fit and a threshold that is not positive and
    finite or above the activation's ceiling.
    """
    if not isinstance(thresholds, Mapping):
        raise ConfigError(
            f"thresholds are given layer by layer, not as {thresholds!r}",
            hint='like {"relu": 1.5}',
        )
    sites = {}
    for name, value in thresholds.items():
        site = net.graph.sites.get(name)
        if site is None:
            raise ConfigError(
                f"there is no layer of neurons '{name}'", hint=nearest(name, net.graph.sites)
            )
        planned = net.plan.sites[name]
        given = _fitting(site, torch.as_tensor(value, dtype=planned.threshold.dtype))
        given = given.to(planned.threshold.device).clone()
        potential = planned.potential / planned.threshold * given
        sites[name] = replace(planned, threshold=given, potential=potential)
    record = {
        "stage": "given thresholds",
        "layers": {name: [float(s.threshold.min()), float(s.threshold.max())]
                   for name, s in sites.items()},
    }  # fmt: skip
    return replace(net, plan=net.plan.with_sites(sites, record))


def _fitting(site: Site, value: Tensor) -> Tensor:
    """`value` so that it broadcasts to one sample of `site`."""
    if value.shape == (site.channels,) and len(site.shape) > 1:
        value = site.per_channel(value)
    try:
        fits = torch.broadcast_shapes(value.shape, site.shape) == tuple(site.shape)
    except RuntimeError:
        fits = False
    if not fits:
        raise ConfigError(
            f"layer '{site.name}': thresholds of shape {tuple(value.shape)} do not fit a sample of "
            f"{site.shape}",
            hint=f"give one number, or {site.channels}, one a channel",
        )
    if not bool((value.isfinite() & (value > 0)).all()):
        raise ConfigError(f"layer '{site.name}': a threshold must be positive and finite")
    if site.ceiling is not None and float(value.max()) > site.ceiling * (1 + 1e-6):
        raise ConfigError(
            f"layer '{site.name}' is clipped at {site.ceiling:g}, and a threshold above it would "
            "send more"
        )
    return value
