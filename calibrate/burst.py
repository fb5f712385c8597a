"""Threshold for burst neurons: a percentile of activations cut at Gamma (Li and Zeng 2022,
"Efficient and accurate conversion of spiking neural network with burst spikes").

    threshold = p-percentile of min(a, Gamma)

A neuron that may send Gamma spikes a step reaches Gamma times its threshold, so the rare large
activations need not fit under it. Gamma cuts in units of the network's activations, as in the
authors' framework. Where the percentile P of the activations themselves is above Gamma^2, bursts
at a threshold of Gamma could not send it (a network for images of 0..255 fell from 99.5 to 64.5 %);
the threshold is then P / Gamma, and the plan's record names the layer.
"""

from dataclasses import asdict, dataclass
from typing import Annotated

import torch

from calibrate.base import CALIBRATORS, Context, SetsThresholds
from calibrate.statistics import histograms, maxima
from calibrate.thresholds import site_plan
from convsnn.errors import CalibrationError
from convsnn.spiking.plan import Plan

BINS = 1 << 16


@CALIBRATORS.register("burst")
@dataclass(frozen=True)
class Burst(SetsThresholds):
    """The q-th percentile of each layer's activations cut at `gamma`; for `burst:gamma=...`.

    Give the neuron the same `gamma`.
    """

    q: Annotated[float, "percentile of the activations that becomes the threshold, percent"] = 99.95
    gamma: Annotated[
        int, "most spikes of a neuron in one time step, as the neuron burst has it"
    ] = 5

    def __post_init__(self) -> None:
        if not 0 < self.q <= 100:
            raise ValueError(f"q is a percentile in (0, 100], not {self.q}")
        if self.gamma < 1:
            raise ValueError(f"gamma must be at least 1, not {self.gamma}")

    def __call__(self, context: Context, plan: Plan) -> Plan:
        """See `Stage`."""
        tops = maxima(context.part(0.0, 0.4))
        found = histograms(context.part(0.4, 1.0), tops, per_channel=False, bins=BINS)
        sites, loosened = {}, []
        for name, site in context.graph.sites.items():
            value = found[name].quantile(self.q)
            if float(value) <= 0 and site.levels is None:
                raise CalibrationError(
                    f"layer '{name}': the {self.q} percentile of its activations is zero",
                    hint="use a higher q",
                )
            if float(value) > self.gamma**2:
                loosened.append(name)
            # a percentile commutes with the cut, because the cut keeps the order of values
            value = torch.maximum(value.clamp(max=self.gamma), value / self.gamma)
            sites[name] = site_plan(site, value, 0.0, tops[name])
        record = {"stage": "burst", **asdict(self), "threshold_above_gamma": loosened}
        return plan.with_sites(sites, record)
