"""Thresholds of the neurons that code what smooth functions give, channel by channel.

    mse        V = argmin of mean (q(a) - a)^2 over V = i/grid of the channel's largest size, with
               q(a) what the neuron sends of a in T steps (`convsnn.neurons.levels`)
    quantile   V = the size that a share q of the values does not exceed

A pass over the images finds the largest sizes, another one a histogram of them; both work on the
original network's values, for a coding neuron sends on its own input. Convert runs this stage by
itself, behind the stages that are asked for.
"""

from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from calibrate.base import CALIBRATORS, Context
from calibrate.statistics import Histogram, by_channel, histograms, largest_of_all
from convsnn.errors import CalibrationError
from convsnn.graph import Node, run
from convsnn.neurons.levels import Levels
from convsnn.registry import split_spec
from convsnn.spiking.plan import Plan, SitePlan
from convsnn.spiking.population import site_neuron

BINS, ENOUGH, GRID = 1 << 9, 1 << 10, 48
SILENT = 1e-6  # of the layer's largest: a channel below it gets the layer's largest threshold


@CALIBRATORS.register("coding")
@dataclass(frozen=True)
class CodingThresholds:
    """Thresholds of coding neurons behind smooth functions, by least squared error or quantile.

    The error is that over `steps` (default: those of the conversion), the quantile `q` in percent;
    all other neurons are left alone.
    """

    steps: Annotated[int | None, "time steps that are fitted; none: those of the conversion"] = None
    rule: Annotated[Literal["mse", "quantile"], "what decides about a threshold"] = "mse"
    q: Annotated[float, "percentile of the sizes, where the rule is the quantile"] = 99.9

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps must be at least 1, not {self.steps}")
        if not 0 < self.q <= 100:
            raise ValueError(f"q must be above 0 and at most 100, not {self.q}")

    def __call__(self, context: Context, plan: Plan) -> Plan:
        """See `Stage`."""
        steps = self.steps or context.steps
        sites = {n: s for n, s in context.graph.sites.items() if s.kind == "code"}
        tops = _largest(context) if sites else {}
        found = histograms(context, tops, per_channel=True, bins=BINS, most=ENOUGH) if sites else {}
        planned = {}
        for name, site in sites.items():
            n = _sizes(site_neuron(context.neuron, site) or "")
            values = self._thresholds(found[name], n, steps)
            top = tops[name]
            silent = top <= SILENT * top.max()
            most = values.max() if bool((~silent).any()) else torch.ones_like(values[0])
            values = torch.where(silent, most, values).to(top.dtype)
            zero = torch.zeros((), dtype=top.dtype, device=top.device)
            planned[name] = SitePlan(site.per_channel(values), zero)
        return plan.with_sites(planned, {"stage": "coding", **asdict(self), "steps": steps})

    def _thresholds(self, found: Histogram, n: int, steps: int) -> Tensor:
        if self.rule == "quantile":
            return torch.minimum(found.quantile(self.q), found.top.double())
        centres = found.values - found.top.double()[:, None] / found.counts.shape[1] / 2
        counts, best = found.counts.double(), torch.full_like(found.top.double(), float("inf"))
        chosen = found.top.double()
        slope = torch.ones((), dtype=torch.float64, device=best.device)
        for index in range(GRID, 0, -1):  # from the largest, so that ties clip less
            threshold = (found.top.double() * index / GRID).clamp(min=torch.finfo().tiny)
            neuron = Levels(threshold[:, None], slope=slope, n=n)
            sent = neuron.count(centres * steps, steps) * threshold[:, None] / steps
            error = (counts * (sent - centres) ** 2).sum(1)
            chosen = torch.where(error < best, threshold, chosen)
            best = torch.minimum(error, best)
        return chosen


def _sizes(spec: str) -> int:
    return int(split_spec(spec)[1].get("n", Levels(1.0).n))


def _largest(context: Context) -> dict[str, Tensor]:
    """The largest size of every channel of every site, (C,); CalibrationError where one is not
    finite. A site that is silent throughout is none of a fault: what it codes is zero."""
    found: dict[str, Tensor] = {}

    def watch(node: Node, value: Tensor) -> None:
        if node.name in context.graph.sites:
            site = context.graph.sites[node.name]
            top = by_channel(site, value).abs().amax(1)
            found[node.name] = torch.maximum(found.get(node.name, top), top)

    with torch.no_grad():
        for _, batch in context.some():
            run(context.graph, batch, watch=watch)
    if not found:
        raise CalibrationError(
            "there are no calibration images", hint="give --calibration-samples at least 1"
        )
    found = {name: largest_of_all(context, top) for name, top in found.items()}
    for name, top in found.items():
        if not bool(top.isfinite().all()):
            raise CalibrationError(
                f"layer '{name}': its value is not finite on the calibration images",
                hint="a norm over equal values or a mask that hides everything makes such values",
            )
    return found
