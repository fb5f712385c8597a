"""Threshold = the largest activation of the layer (Diehl et al. 2015, data-based normalisation)."""

from dataclasses import asdict, dataclass
from typing import Annotated

from calibrate.base import CALIBRATORS, Context, SetsThresholds, check_potential
from calibrate.statistics import maxima
from calibrate.thresholds import site_plan
from convsnn.spiking.plan import Plan


@CALIBRATORS.register("max")
@dataclass(frozen=True)
class Maximum(SetsThresholds):
    """The layer's largest activation on the calibration images, times `factor`.

    `potential` is the initial potential as a fraction of the threshold.
    """

    factor: Annotated[float, "multiple of the largest activation that becomes the threshold"] = 1.0
    potential: Annotated[float, "initial potential, as a fraction of the threshold"] = 0.0

    def __post_init__(self) -> None:
        check_potential(self.potential)
        if not 0 < self.factor < float("inf"):
            raise ValueError(f"factor must be positive, not {self.factor}")

    def __call__(self, context: Context, plan: Plan) -> Plan:
        """See `Stage`."""
        tops = maxima(context)
        sites = {
            name: site_plan(site, tops[name].max()[None] * self.factor, self.potential, tops[name])
            for name, site in context.graph.sites.items()
        }
        return plan.with_sites(sites, {"stage": "max", **asdict(self)})
