"""Thresholds of the neurons that code what smooth functions give, channel by channel.

    mse        V = argmin of mean (q(a) - a)^2 over V = i/grid of the channel's largest size, with
               q(a) what the neuron sends of a in T steps (`convsnn.neurons.levels`)
    quantile   V = the size that a share q of the values does not exceed
    fixed-point  V = E[a q(a)] / E[q(a)^2] with q(a) the nearest size to a / V and a normally
               distributed with the channel's mean and variance (`calibrate.fixed_point`)

A pass over the images finds the largest sizes, another one a histogram of them, or their mean and
variance; all work on the original network's values, for a coding neuron sends on its own input.
Convert runs this stage by itself, behind the stages that are asked for.
"""

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from calibrate.base import CALIBRATORS, Context
from calibrate.fixed_point import fixed_points
from calibrate.statistics import Histogram, by_channel, histograms, largest_of_all, run_all
from convsnn.errors import CalibrationError
from convsnn.graph import Node
from convsnn.neurons.levels import Levels
from convsnn.registry import split_spec
from convsnn.spiking.plan import Plan, SitePlan
from convsnn.spiking.population import site_neuron

BINS, ENOUGH, GRID = 1 << 9, 1 << 10, 48
TIE = 1e-9  # of an error: nothing but rounding
SILENT = 1e-6  # of the layer's largest: a channel below it gets the layer's largest threshold


@CALIBRATORS.register("coding")
@dataclass(frozen=True)
class CodingThresholds:
    """Thresholds of coding neurons behind smooth functions: least error, quantile, fixed point.

    The error is that over `steps` (default: those of the conversion), the quantile `q` in percent;
    the fixed point is that of a normal distribution with a channel's mean and variance, after DCGS.
    All other neurons are left alone.
    """

    steps: Annotated[int | None, "time steps that are fitted; none: those of the conversion"] = None
    rule: Annotated[
        Literal["mse", "quantile", "fixed-point"],
        "what decides: least squared error over the steps, a percentile, or mean and variance",
    ] = "mse"
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
        sizes = {name: _sizes(site_neuron(context.neuron, s) or "") for name, s in sites.items()}
        found = self._found(context, tops, sizes, steps) if sites else {}
        planned = {}
        for name, site in sites.items():
            values, top = found[name], tops[name]
            silent = top <= SILENT * top.max()
            most = values.max() if bool((~silent).any()) else torch.ones_like(values[0])
            values = torch.where(silent, most, values).to(top.dtype)
            zero = torch.zeros((), dtype=top.dtype, device=top.device)
            planned[name] = SitePlan(site.per_channel(values), zero)
        return plan.with_sites(planned, {"stage": "coding", **asdict(self), "steps": steps})

    def _found(
        self, context: Context, tops: dict[str, Tensor], sizes: dict[str, int], steps: int
    ) -> dict[str, Tensor]:
        """The thresholds of every channel of every site, (C,)."""
        if self.rule == "fixed-point":
            known = _spread(context, tops)
            return {name: fixed_points(*known[name], n) for name, n in sizes.items()}
        seen = histograms(context, tops, per_channel=True, bins=BINS, most=ENOUGH)
        return {name: self._thresholds(seen[name], n, steps) for name, n in sizes.items()}

    def _thresholds(self, found: Histogram, n: int, steps: int) -> Tensor:
        if self.rule == "quantile":
            return torch.minimum(found.quantile(self.q), found.top.double())
        bins = found.counts.shape[1]
        like: dict[str, Any] = {"dtype": torch.float64, "device": found.top.device}
        centres = (torch.arange(bins, **like) + 0.5) / bins  # in units of the largest size
        shares = torch.arange(GRID, 0, -1, **like)[:, None] / GRID
        neuron = Levels(shares, slope=torch.ones((), **like), n=n)
        sent = neuron.count((centres * steps).expand(GRID, -1), steps) * shares / steps
        errors = found.counts.double() @ ((sent - centres) ** 2).mT  # (C, GRID)
        least = errors <= errors.min(1, keepdim=True).values * (1 + TIE)
        first = least.int().argmax(1)  # the largest threshold of those, which clips less
        return (found.top.double() * shares[first, 0]).clamp(min=torch.finfo().tiny)


def _sizes(spec: str) -> int:
    return int(split_spec(spec)[1].get("n", Levels(1.0).n))


def _spread(context: Context, tops: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and variance of every channel of every site, (C,) in float64."""
    sums = {name: torch.zeros(3, len(top), dtype=torch.float64) for name, top in tops.items()}

    def watch(node: Node, value: Tensor) -> None:
        if node.name in sums:
            rows = by_channel(context.graph.sites[node.name], value).double()
            number = torch.full_like(rows[:, 0], rows.shape[1])
            seen = torch.stack([number, rows.sum(1), (rows**2).sum(1)])
            sums[node.name] = sums[node.name].to(seen.device) + seen

    run_all(context, context.own(), watch)
    found = {}
    for name, own in sums.items():
        number, total, square = context.share.add(own)
        found[name] = total / number, square / number - (total / number) ** 2
    return found


def _largest(context: Context) -> dict[str, Tensor]:
    """The largest size of every channel of every site, (C,); CalibrationError where one is not
    finite. A site that is silent throughout is none of a fault: what it codes is zero."""
    found: dict[str, Tensor] = {}

    def watch(node: Node, value: Tensor) -> None:
        if node.name in context.graph.sites:
            site = context.graph.sites[node.name]
            top = by_channel(site, value).abs().amax(1)
            found[node.name] = torch.maximum(found.get(node.name, top), top)

    run_all(context, context.some(), watch)
    found = {name: largest_of_all(context, top) for name, top in found.items()}
    for name, top in found.items():
        if not bool(top.isfinite().all()):
            raise CalibrationError(
                f"layer '{name}': its value is not finite on the calibration images",
                hint="a norm over equal values or a mask that hides everything makes such values",
            )
    return found
