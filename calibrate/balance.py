"""Local threshold balancing (Bu et al. 2025, arXiv 2409.03368, sections 4.2 and 4.3).

    threshold(c) += rate * mean over images and positions of  max(0, a - threshold(c))

per channel, starting at zero, once for every batch; a is the layer's activation in the original
network with every layer before it clipped at its threshold so far. With rate 2 this is gradient
descent, step size 1, on the squared error that clipping the layer makes. The threshold climbs
towards the maximum and gets there never: how far is decided by `batches`.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Annotated

import torch
from torch import Tensor

from calibrate.base import CALIBRATORS, Context, SetsThresholds, check_potential
from calibrate.statistics import by_channel, maxima, sizes
from calibrate.thresholds import guarded, site_plan
from convsnn.graph import Node, run
from convsnn.graph.ops import Role
from convsnn.spiking.plan import Plan


@CALIBRATORS.register("balance")
@dataclass(frozen=True)
class Balance(SetsThresholds):
    """Channel thresholds that climb to balance clipping, over `batches` calibration batches.

    Batches are taken again from the first when there are fewer. `rate` is the step size;
    `potential` is the initial potential as a fraction of the threshold.
    """

    batches: Annotated[
        int, "calibration batches to climb on, taken again where there are fewer"
    ] = 400
    rate: Annotated[
        float, "step size: thresholds climb by so much of the mean excess in each batch"
    ] = 2.0
    potential: Annotated[float, "initial potential, as a fraction of the threshold"] = 0.5

    def __post_init__(self) -> None:
        check_potential(self.potential)
        if self.batches < 1:
            raise ValueError(f"batches must be at least 1, not {self.batches}")
        if not 0 < self.rate < float("inf"):
            raise ValueError(f"rate must be positive, not {self.rate}")

    def __call__(self, context: Context, plan: Plan) -> Plan:
        """See `Stage`."""
        tops = maxima(context)
        graph = context.graph
        values = {name: torch.zeros_like(top) for name, top in tops.items()}

        def climb(node: Node, activation: Tensor) -> None:
            if node.role is not Role.ACTIVATION:
                return
            site = graph.sites[node.name]
            if site.levels is not None:
                return  # its threshold is known and its activation clipped already
            excess = sizes(site, by_channel(site, activation)) - values[node.name][:, None]
            values[node.name] += self.rate * excess.clamp(min=0).mean(1)
            # what a watcher changes is what the layers behind it read: they see clipped values
            bound = site.per_channel(values[node.name])
            clipped = torch.minimum(activation, bound)
            activation.copy_(torch.maximum(clipped, -bound) if site.signed else clipped)

        with torch.no_grad():
            for batch in islice(_cycle(context), self.batches):
                run(graph, batch, watch=climb)
        # clipping the layers before it can silence a channel
        values = {name: torch.where(v > 0, v, tops[name]) for name, v in values.items()}
        sites = {
            name: site_plan(site, guarded(values[name], tops[name]), self.potential, tops[name])
            for name, site in graph.sites.items()
        }
        return plan.with_sites(sites, {"stage": "balance", **asdict(self)})


def _cycle(context: Context) -> Iterator[Tensor]:
    while True:  # `maxima` has made sure that there are images
        yield from context.batches
