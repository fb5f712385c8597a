"""Thresholds that the network was trained with: no images are looked at.

A clip-floor activation (QCFS of Bu et al. 2022; PACT and LSQ round likewise)

    a = c / L * floor(clip(z, 0, c) * L / c + shift)

is what an integrate-and-fire neuron with threshold c and initial potential shift * c sends on
average in L steps of a constant current z. Under ReLU6 and its like the ceiling is the threshold.
Layers without a ceiling keep what the stages before this one say.
"""

from dataclasses import asdict, dataclass
from typing import Annotated

import torch

from calibrate.base import CALIBRATORS, Context, check_potential
from calibrate.thresholds import site_plan
from convsnn.errors import CalibrationError
from convsnn.spiking.plan import Plan


@CALIBRATORS.register("trained")
@dataclass(frozen=True)
class Trained:
    """The thresholds the network was trained with: clip-floor activations (QCFS), ReLU6.

    `potential` is the initial potential as a fraction of the threshold, for layers that are
    clipped without steps; a clip-floor activation brings its own.
    """

    potential: Annotated[
        float, "initial potential, as a fraction of the threshold; for layers clipped without steps"
    ] = 0.5

    def __post_init__(self) -> None:
        check_potential(self.potential)

    def __call__(self, context: Context, plan: Plan) -> Plan:
        """See `Stage`; CalibrationError names the layers that have no threshold from anywhere."""
        graph = context.graph
        clipped = {name: s.ceiling for name, s in graph.sites.items() if s.ceiling is not None}
        without = [name for name in graph.sites if name not in {*clipped, *plan.sites}]
        if without:
            names = ", ".join(f"'{name}'" for name in without)
            raise CalibrationError(
                f"the network was trained with no threshold in {names}",
                hint="put a stage that measures thresholds before it: mse+trained",
            )
        like = next(iter(graph.tensors.values()), torch.ones(()))
        sites = {
            name: site_plan(graph.sites[name], like.new_tensor([top]), self.potential, like)
            for name, top in clipped.items()
        }
        return plan.with_sites(sites, {"stage": "trained", **asdict(self)})
