"""The ways to fine-tune a converted network, each by name: how its thresholds learn and from what.

    fixed    thresholds stay as converted, weights learn
    lt-snn   thresholds learn by LT-SNN's separate gradient path
    ltmd     thresholds learn as tanh(k), LTMD
    dsr      thresholds and weights learn from means over time, DSR (Meng et al. 2022)
    hybrid   as fixed, with the surrogate of Rathi et al. 2020: 0.3 max(0, 1 - |u / V - 1|)

In networks that fire layer by layer, whose neurons are quantisers (see `quantiser`), `lt-snn` and
`ltmd` say what of the threshold is learned, and `fixed` that nothing is.

In all of them the potential is compared with the threshold after the current has been added, and
distances to a threshold count in units of the converted one.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from convsnn.errors import ConfigError
from convsnn.registry import nearest
from convsnn.spiking.plan import SitePlan
from convsnn.spiking.schedule import Schedule
from convsnn.train.lif import LIF, Reset
from convsnn.train.quantiser import Quantiser
from convsnn.train.scan import ScannedLIF
from convsnn.train.surrogates import Rectangle, Surrogate, Triangle
from convsnn.train.thresholds import THRESHOLDS, Fixed

FLOOR = 0.05  # of the converted threshold, below which none may fall


@dataclass(frozen=True)
class Linear:
    """A triangle that is `height` high instead of 1; it reaches zero at distance 1."""

    height: float = 0.3

    def derivative(self, distance: Tensor) -> Tensor:
        """See `Surrogate.derivative`."""
        return (1 - distance.abs()).clamp(min=0) * self.height


@dataclass(frozen=True)
class Method:
    """How neurons learn: the rule of their threshold and the surrogate of their spikes.

    `judged` says at which steps the network's answer counts: at all, later ones more ("rising"),
    or after the last ("last": what learns from means over time knows no steps).
    """

    rule: str
    surrogate: Surrogate
    judged: Literal["rising", "last"] = "rising"


METHODS: dict[str, Method] = {
    "dsr": Method("dsr:floor=0.05", Triangle(), "last"),
    "fixed": Method("fixed", Triangle()),
    "hybrid": Method("fixed", Linear()),
    "lt-snn": Method(f"lt-snn:floor={FLOOR}", Triangle()),
    "ltmd": Method(f"ltmd:floor={FLOOR}", Rectangle()),
}


def find_method(name: str) -> Method:
    """The method of this name; ConfigError with the nearest names otherwise."""
    if name not in METHODS:
        raise ConfigError(f"unknown method '{name}'", hint=nearest(name, METHODS))
    return METHODS[name]


def neurons(
    method: Method,
    planned: SitePlan,
    *,
    per: Literal["channel", "layer"] = "channel",
    decay: float = 1.0,
    reset: Reset = "soft",
    schedule: Schedule = "steps",
) -> LIF:
    """Neurons that start as `planned` says: what is learned of the threshold starts at 1, in units
    of the planned one, once per layer or per channel. Initial potentials learn too."""
    unit = planned.threshold
    shape = tuple(unit.shape) if per == "channel" else ()
    known = {} if method.rule == "fixed" else {"shape": shape}
    rule = THRESHOLDS.create(method.rule, unit=unit, **known)
    potential = torch.broadcast_to(
        planned.potential, torch.broadcast_shapes(unit.shape, planned.potential.shape)
    )
    start = nn.Parameter(potential.detach().clone())
    if schedule == "layers":
        return Quantiser(rule, potential=start)
    return ScannedLIF(
        rule,
        decay=decay,
        reset=reset,
        surrogate=method.surrogate,
        sends="threshold",
        potential=start,
    )


def learned_thresholds(modules: nn.Module) -> int:
    """How many numbers of thresholds are learned in a network."""
    rules = [m for m in modules.modules() if isinstance(m, LIF)]
    return sum(
        p.numel()
        for lif in rules
        if not isinstance(lif.threshold, Fixed)
        for p in lif.threshold.parameters()
    )
