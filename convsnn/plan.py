"""What calibration decides: plain data per site, in units of the source network's activations.

A calibration stage is a function of what it may look at (`Context`) and the plan so far. Stages
live in the package `calibrate`; only their contract stands here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from torch import Tensor

from convsnn.encoders import Encoder
from convsnn.errors import CalibrationError
from convsnn.graph import Graph


@dataclass(frozen=True)
class SitePlan:
    """Threshold and initial potential of one site; both broadcast to one sample's shape."""

    threshold: Tensor
    potential: Tensor


@dataclass(frozen=True)
class Plan:
    """Per site what its neurons start from, and the record of the stages that made it."""

    sites: Mapping[str, SitePlan] = field(default_factory=dict)
    record: tuple[Mapping[str, Any], ...] = ()

    def with_sites(self, sites: Mapping[str, SitePlan], record: Mapping[str, Any]) -> "Plan":
        """A plan with `sites` replaced and one more stage on record."""
        return replace(self, sites={**self.sites, **sites}, record=(*self.record, dict(record)))

    def check(self, graph: Graph) -> None:
        """Raise CalibrationError unless every site has a usable threshold and potential."""
        for name, site in graph.sites.items():
            if name not in self.sites:
                raise CalibrationError(
                    f"layer '{name}' has no threshold",
                    hint="start with a stage that sets thresholds, such as percentile:q=99.9",
                )
            planned = self.sites[name]
            if not bool(planned.threshold.isfinite().all() and (planned.threshold > 0).all()):
                raise CalibrationError(
                    f"layer '{name}': a threshold of {float(planned.threshold.min()):g} is not "
                    "usable; it must be positive and finite",
                    hint="calibrate on images like those the network was trained on, or on more",
                )
            if not bool(planned.potential.isfinite().all()):
                raise CalibrationError(f"layer '{name}': the initial potential is not finite")
            if site.ceiling is not None and float(planned.threshold.max()) > site.ceiling * (
                1 + 1e-6
            ):
                raise CalibrationError(
                    f"layer '{name}': the threshold exceeds the activation's "
                    f"ceiling {site.ceiling:g}"
                )


@dataclass(frozen=True)
class Context:
    """What a stage may look at; it never changes the graph.

    `batches` can be iterated any number of times and gives calibration images (B, *input shape);
    `steps` is the number of time steps the network is meant for.
    """

    graph: Graph
    batches: Iterable[Tensor]
    neuron: str
    encoder: Encoder
    steps: int
    seed: int


class Stage(Protocol):
    """One calibration method; its options are the fields of its dataclass."""

    def __call__(self, context: Context, plan: Plan) -> Plan:
        """The plan with this stage's part filled in or improved."""
        ...


def run_stages(context: Context, stages: Sequence[Stage]) -> Plan:
    """Run the stages in order, from an empty plan, and check that the result is usable."""
    plan = Plan()
    for stage in stages:
        plan = stage(context, plan)
    plan.check(context.graph)
    return plan
