"""Maximum threshold and half a spike of extra current (Deng and Gu 2021, "Optimal conversion of
conventional artificial neural networks to spiking neural networks").

    threshold = max activation      z'(t) = z(t) + threshold / (2 T)      V(0) = 0

so that a constant current gives after T steps the nearest level instead of the one below:

    a' = threshold / T * clip(floor(T z / threshold + 1/2), 0, T)

The authors train the network with a clipped ReLU, clip(a, 0, c); such a network brings its
ceiling along. For a network that was trained without, a percentile `q` below 100 takes its place.
"""

from dataclasses import asdict, dataclass, replace
from typing import Annotated

from calibrate.base import CALIBRATORS, Context, SetsThresholds
from calibrate.statistics import histograms, maxima
from calibrate.thresholds import site_plan
from convsnn.errors import CalibrationError
from convsnn.spiking.plan import Plan

BINS = 1 << 16


@CALIBRATORS.register("opt")
@dataclass(frozen=True)
class Optimal(SetsThresholds):
    """The q-th percentile of each layer's activations and a shift of half a level per neuron.

    The shift is right after `steps` time steps (default: those of the conversion).
    """

    steps: Annotated[
        int | None, "time steps after which the shift is right; none: those of the conversion"
    ] = None
    q: Annotated[
        float, "percentile of the activations that becomes the threshold, percent; 100: the maximum"
    ] = 100.0

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps must be at least 1, not {self.steps}")
        if not 0 < self.q <= 100:
            raise ValueError(f"q is a percentile in (0, 100], not {self.q}")

    def __call__(self, context: Context, plan: Plan) -> Plan:
        """See `Stage`."""
        steps = self.steps or context.steps
        tops = maxima(context.part(0.0, 0.4))
        found = histograms(context.part(0.4, 1.0), tops, per_channel=False, bins=BINS)
        sites = {}
        for name, site in context.graph.sites.items():
            value = found[name].quantile(self.q)
            if float(value) <= 0 and site.levels is None:
                raise CalibrationError(
                    f"layer '{name}': the {self.q} percentile of its activations is zero",
                    hint="use a higher q",
                )
            planned = site_plan(site, value, 0.0, tops[name])
            half = planned.threshold / (2 * steps)
            # a network trained with a staircase has its own shift, in the initial potential
            sites[name] = planned if site.levels is not None else replace(planned, shift=half)
        return plan.with_sites(sites, {"stage": "opt", **asdict(self), "steps": steps})
