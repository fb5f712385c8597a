"""Threshold = a high percentile of the activations (p-Norm, Rueckauer et al. 2017, section 2.2.2)
and its channel-wise form (Channel-Norm, Kim et al. 2020, equation 5).

A few outliers then clip, and everything else spikes more often. A channel that is silent on the
calibration images takes the largest threshold of its layer.
"""

from dataclasses import asdict, dataclass
from typing import Annotated

import torch

from calibrate.base import CALIBRATORS, Context, SetsThresholds, check_potential
from calibrate.statistics import histograms, maxima
from calibrate.thresholds import guarded, site_plan
from convsnn.errors import CalibrationError
from convsnn.spiking.plan import Plan

LAYER_BINS = 1 << 16
CHANNEL_BINS = 1 << 12


@dataclass(frozen=True)
class _Quantile(SetsThresholds):
    """The options of both stages.

    `q` in (0, 100]; `nonzero` leaves zeros out; `potential` is the initial potential as a
    fraction of the threshold.
    """

    q: Annotated[float, "percentile of the activations that becomes the threshold, percent"] = 99.9
    nonzero: Annotated[bool, "whether activations of zero are left out of the percentile"] = False
    potential: Annotated[float, "initial potential, as a fraction of the threshold"] = 0.0

    def __post_init__(self) -> None:
        check_potential(self.potential)
        if not 0 < self.q <= 100:
            raise ValueError(f"q is a percentile in (0, 100], not {self.q}")


@CALIBRATORS.register("percentile")
@dataclass(frozen=True)
class Percentile(_Quantile):
    """The q-th percentile of each layer's activations; `nonzero` leaves zeros out."""

    def __call__(self, context: Context, plan: Plan) -> Plan:
        """See `Stage`."""
        tops = maxima(context.part(0.0, 0.4))
        found = histograms(context.part(0.4, 1.0), tops, per_channel=False, bins=LAYER_BINS)
        sites = {}
        for name, site in context.graph.sites.items():
            value = found[name].quantile(self.q, nonzero=self.nonzero)
            if float(value) <= 0 and site.levels is None:
                raise CalibrationError(
                    f"layer '{name}': the {self.q} percentile of its activations is zero",
                    hint="use a higher q, or nonzero=true",
                )
            sites[name] = site_plan(site, value, self.potential, tops[name])
        return plan.with_sites(sites, {"stage": "percentile", **asdict(self)})


@CALIBRATORS.register("channel")
@dataclass(frozen=True)
class Channel(_Quantile):
    """The q-th percentile of each channel's activations; `nonzero` leaves zeros out."""

    def __call__(self, context: Context, plan: Plan) -> Plan:
        """See `Stage`."""
        tops = maxima(context.part(0.0, 0.4))
        found = histograms(context.part(0.4, 1.0), tops, per_channel=True, bins=CHANNEL_BINS)
        sites = {}
        for name, site in context.graph.sites.items():
            values = found[name].quantile(self.q, nonzero=self.nonzero)
            # a channel that speaks in fewer than 1 - q of the places has a percentile of zero
            values = torch.where(values > 0, values, tops[name].double())
            values = guarded(values, tops[name])
            sites[name] = site_plan(site, values, self.potential, tops[name])
        return plan.with_sites(sites, {"stage": "channel", **asdict(self)})
