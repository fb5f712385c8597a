"""Threshold = the one whose staircase fits the activations best at a given number of steps
(Li et al. 2021, section 4.1: a grid search; here over a histogram, so that memory stays flat).

    q(a) = V/T * clip(floor(a T / V + p), 0, T)      V = argmin of mean (q(a) - a)^2

over V = i/grid of the largest activation, with p the initial potential as a fraction of V. A
neuron that may send n spikes in a step has n T levels, and V/n for its threshold.

Half a level, p = 1/2, is where neurons start; with `start="current"` they start at 0 and get it as
a current of V/(2 T) at every step, as in the authors' code, which is right after T steps only.
"""

from dataclasses import asdict, dataclass, replace
from typing import Annotated, Literal

import torch

from calibrate.base import CALIBRATORS, Context, SetsThresholds, check_potential
from calibrate.staircases import BINS, ENOUGH, best_thresholds
from calibrate.statistics import histograms, maxima
from calibrate.thresholds import guarded, site_plan
from convsnn.neurons import NEURONS
from convsnn.spiking.plan import Plan

FINEST = 100_000
LEVELS = 10  # as few suffice, and smaller thresholds speak sooner


@CALIBRATORS.register("mse")
@dataclass(frozen=True)
class MeanSquaredError(SetsThresholds):
    """The best staircase for `steps` time steps (default: those of the conversion).

    Of layers that fire step by step the default is at most 10 levels.
    `per` channel or layer; `potential` is the initial potential as a fraction of the threshold, or
    that of its current over all `steps` with `start` "current"; `grid` thresholds are tried between
    zero and the maximum.
    """

    steps: Annotated[
        int | None,
        "time steps whose staircase is fitted; none: those of the conversion, at most 10 levels",
    ] = None
    per: Annotated[Literal["channel", "layer"], "what shares one threshold"] = "channel"
    potential: Annotated[float, "initial potential, as a fraction of the threshold"] = 0.5
    start: Annotated[
        Literal["potential", "current"],
        "how neurons get it: as initial potential, or as current, a part at each of the steps",
    ] = "potential"
    grid: Annotated[int, "thresholds that are tried between zero and the maximum"] = 100

    def __post_init__(self) -> None:
        check_potential(self.potential)
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps must be at least 1, not {self.steps}")
        if not 2 <= self.grid <= FINEST:
            raise ValueError(f"grid must be from 2 to {FINEST}, not {self.grid}")

    def __call__(self, context: Context, plan: Plan) -> Plan:
        """See `Stage`."""
        spikes = NEURONS.create(context.neuron, threshold=1.0).spikes_per_step
        steps = self.steps or max(1, min(context.steps, round(LEVELS / spikes)))
        if self.steps is None and (context.schedule == "layers" or self.start == "current"):
            steps = context.steps  # another number is another network
        tops = maxima(context.part(0.0, 0.4))
        most = ENOUGH if context.schedule == "layers" else None
        found = histograms(
            context.part(0.4, 0.9), tops, per_channel=self.per == "channel", bins=BINS, most=most
        )
        sites = {}
        for name, site in context.graph.sites.items():
            values = best_thresholds(found[name], steps * spikes, self.potential, self.grid)
            if self.per == "channel":
                values = guarded(values, tops[name])
            planned = site_plan(site, values / spikes, self.potential, tops[name])
            if self.start == "current" and site.levels is None:
                share = planned.potential / steps
                planned = replace(planned, potential=torch.zeros_like(share), shift=share)
            sites[name] = planned
        return plan.with_sites(sites, {"stage": "mse", **asdict(self), "steps": steps})
