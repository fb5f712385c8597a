"""Thresholds that the network was trained with: no images are looked at.

A clip-floor activation (QCFS, Bu et al. 2022, equation 12, and PACT or LSQ, which round likewise)

    a = c / L * floor(clip(z, 0, c) * L / c + shift)

is what an integrate-and-fire neuron with threshold c and initial potential shift * c sends on
average in L steps of a constant current z. Under ReLU6 and its like the ceiling is the threshold.
"""

from dataclasses import asdict, dataclass

import torch

from calibrate.base import CALIBRATORS, Context
from calibrate.thresholds import site_plan
from convsnn.errors import CalibrationError
from convsnn.plan import Plan


@CALIBRATORS.register("trained")
@dataclass(frozen=True)
class Trained:
    """The thresholds the network was trained with: clip-floor activations (QCFS), ReLU6.

    `potential` is the initial potential as a fraction of the threshold, for layers that are
    clipped without steps; a clip-floor activation brings its own.
    """

    potential: float = 0.5

    def __call__(self, context: Context, plan: Plan) -> Plan:
        """See `Stage`; CalibrationError names the layers that have no ceiling."""
        graph = context.graph
        without = [name for name, site in graph.sites.items() if site.ceiling is None]
        if without:
            raise CalibrationError(
                f"the network was trained with no threshold in {', '.join(without)}",
                hint="use a stage that measures thresholds, such as mse; where a layer was trained "
                "with one, it keeps it",
            )
        like = next(iter(graph.tensors.values()), torch.ones(()))
        sites = {
            name: site_plan(site, like.new_tensor([site.ceiling]), self.potential, like)
            for name, site in graph.sites.items()
        }
        return plan.with_sites(sites, {"stage": "trained", **asdict(self)})
