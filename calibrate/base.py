"""What a calibration stage is: a function of what it may look at and the plan so far.

Stages chain with `+`: `mse:steps=8+...`; each gets the plan of the one before.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from convsnn.encoders import Encoder
from convsnn.errors import ConfigError
from convsnn.graph import Graph
from convsnn.plan import Plan
from convsnn.registry import Registry


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


CALIBRATORS: Registry[Stage] = Registry("calibration stage")


def parse_stages(text: str) -> tuple[Stage, ...]:
    """`percentile:q=99.9,potential=0+bias` as stages; ConfigError names what is unknown."""
    parts = [part.strip() for part in text.split("+")]
    if not all(parts):
        raise ConfigError(
            f"'{text}' has an empty stage", hint=f"known stages: {', '.join(CALIBRATORS.names())}"
        )
    return tuple(CALIBRATORS.create(part) for part in parts)


def run_stages(context: Context, stages: Sequence[Stage]) -> Plan:
    """Run the stages in order, from an empty plan, and check that the result is usable."""
    plan = Plan()
    for stage in stages:
        plan = stage(context, plan)
    plan.check(context.graph)
    return plan
