"""What calibration decides: plain data per site, in units of the source network's activations.

A calibration stage is a function of what it may look at (`Context`) and the plan so far. Stages
live in the package `calibrate`; only their contract stands here.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from convsnn.encoders import Encoder
from convsnn.errors import CalibrationError
from convsnn.graph import Graph
from convsnn.spiking.sharing import ALONE, Share, own_batches


@dataclass(frozen=True)
class SitePlan:
    """What the neurons of one site start from; every tensor broadcasts to one sample's shape.

    `shift` is added to the input current of every step, `timed_bias` (n, ...) to those of the first
    n steps, one entry each; `confidence` is the probability that a spike is kept, `turn` the number
    of windows that pass before the layer sends (see `convsnn.spiking.turns`), each for neurons that
    know it. `lateral` (width,) are the weights from a neuron's neighbours in a row, for neurons
    that hear them; it alone does not broadcast.
    """

    threshold: Tensor
    potential: Tensor
    shift: Tensor | None = None
    confidence: Tensor | None = None
    turn: Tensor | None = None
    lateral: Tensor | None = None
    timed_bias: Tensor | None = None

    def added(self, steps: range) -> Tensor | None:
        """What is added to the currents (len(steps), B, ...) of these steps; None for nothing."""
        if self.timed_bias is None:
            return self.shift
        rows = self.timed_bias[steps.start : steps.stop]
        rows = torch.cat([rows, rows.new_zeros(len(steps) - len(rows), *rows.shape[1:])])[:, None]
        return rows if self.shift is None else rows + self.shift

    def driven(self, currents: Tensor, steps: range) -> Tensor:
        """The `currents` (len(steps) or 1, B, ...) of these steps with what is added to them."""
        added = self.added(steps)
        return currents if added is None else currents + added

    def added_up(self, steps: int) -> Tensor | None:
        """The sum of what is added in the first `steps`, (...); None for nothing."""
        total = None if self.shift is None else self.shift * steps
        if self.timed_bias is None:
            return total
        timed = self.timed_bias[:steps].sum(0)
        return timed if total is None else timed + total

    def to(
        self, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> "SitePlan":
        """The same on another device or in another float type."""
        moved = {k: v.to(device=device, dtype=dtype) for k, v in self.tensors().items()}
        return replace(self, **moved)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that are set, by field name."""
        return {f.name: v for f in fields(self) if (v := getattr(self, f.name)) is not None}


@dataclass(frozen=True)
class Plan:
    """Per site what its neurons start from, and the record of the stages that made it.

    `weights` replace tensors of the graph, by name, in the spiking network only.
    """

    sites: Mapping[str, SitePlan] = field(default_factory=dict)
    weights: Mapping[str, Tensor] = field(default_factory=dict)
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
            for field_name, tensor in planned.tensors().items():
                if not bool(tensor.isfinite().all()):
                    raise CalibrationError(f"layer '{name}': its {field_name} is not finite")
            timed = planned.timed_bias
            if timed is not None and (timed.dim() != 1 + len(site.shape) or not len(timed)):
                raise CalibrationError(
                    f"layer '{name}': a timed_bias of shape {tuple(timed.shape)} holds no entry "
                    f"for each step that broadcasts to {site.shape}"
                )
            if site.ceiling is not None and float(planned.threshold.max()) > site.ceiling * (
                1 + 1e-6
            ):
                raise CalibrationError(
                    f"layer '{name}': the threshold exceeds the activation's "
                    f"ceiling {site.ceiling:g}"
                )
        for name, tensor in self.weights.items():
            known = graph.tensors.get(name)
            if known is None or known.shape != tensor.shape:
                raise CalibrationError(f"replaced weight '{name}' does not fit the network")
            if not bool(tensor.isfinite().all()):
                raise CalibrationError(f"replaced weight '{name}' is not finite")

    def require_turns(self) -> None:
        """Raise CalibrationError unless every site knows its turn."""
        missing = [name for name, planned in self.sites.items() if planned.turn is None]
        if missing:
            raise CalibrationError(
                f"layer '{missing[0]}' does not know when its turn to send comes",
                hint="end the calibration with the stage tsc, like percentile:q=99.9+tsc",
            )


def _unheard(done: float) -> None:
    """Where nobody wants to know how far the work is."""


@dataclass(frozen=True)
class Context:
    """What a stage may look at; it never changes the graph.

    `batches` can be iterated any number of times and gives calibration images (B, *input shape), as
    the original is shown them. Where the encoder takes `sequences` (B, frames, *input shape), these
    are what the spiking network is `shown` of the same samples, in the same batches. `steps` is the
    number of time steps the network is meant for, `schedule` when its layers fire. Of several
    processes each has a `share` of the work, and all come to the same plan. `heard` is told now and
    then what part of the work is done, from 0 to 1.
    """

    graph: Graph
    batches: Iterable[Tensor]
    neuron: str
    encoder: Encoder
    steps: int
    seed: int
    schedule: str = "steps"
    share: Share = ALONE
    sequences: Iterable[Tensor] | None = None
    heard: Callable[[float], None] = _unheard

    @property
    def shown(self) -> "Context":
        """The same, whose batches are what the spiking network is shown."""
        if self.sequences is None:
            return self
        return replace(self, batches=self.sequences, sequences=None)

    def lasting(self, steps: int) -> int:
        """`steps`, or as many as the samples last: a sequence shows nothing behind its frames."""
        frames = self.encoder.steps
        return steps if frames is None else min(steps, frames)

    def part(self, first: float, last: float) -> "Context":
        """The same for a part of the work, that between `first` and `last` of the whole."""
        return replace(self, heard=lambda done: self.heard(first + (last - first) * done))

    def own(self, samples: int | None = None) -> Iterator[tuple[int, Tensor]]:
        """The batches that fall to this process, each with the number of its first image; of the
        first `samples` images only."""
        dealt = own_batches(self.share, self.batches)
        sized = self.batches if self.sequences is None else self.sequences
        count = len(sized) if isinstance(sized, Sized) else 0
        for number, (first, batch) in enumerate(dealt, start=1):
            kept = batch if samples is None else batch[: max(0, samples - first)]
            if not len(kept):
                return
            yield first, kept
            if count:
                self.heard(min(1.0, number * self.share.count / count))

    def some(self, samples: int | None = None) -> Iterator[tuple[int, Tensor]]:
        """The same, the first batch where nothing falls to this process: for what images that are
        seen twice do not change, such as a maximum."""
        nothing = True
        for numbered in self.own(samples):
            nothing = False
            yield numbered
        if nothing:
            yield from ((0, batch[:samples]) for batch in islice(self.batches, 1))


class Stage(Protocol):
    """One calibration method; its options are the fields of its dataclass."""

    def __call__(self, context: Context, plan: Plan) -> Plan:
        """The plan with this stage's part filled in or improved."""
        ...


Shown: TypeAlias = Callable[[int], AbstractContextManager[Callable[[float], None]]]


def run_stages(context: Context, stages: Sequence[Stage], *, shown: Shown | None = None) -> Plan:
    """Run the stages in order, from an empty plan, and check that the result is usable.

    `shown` gives for the number of each, from 0, what is told which part of it is done.
    """
    plan = Plan()
    for number, stage in enumerate(stages):
        with nullcontext(context.heard) if shown is None else shown(number) as heard:
            plan = stage(replace(context, heard=heard), plan)
    plan.check(context.graph)
    return plan


def same_plan(plan: Plan, share: Share) -> Plan:
    """The plan of process 0, where solving the same equations may have rounded in another way."""
    sites = {
        name: replace(site, **{key: share.first(value) for key, value in site.tensors().items()})
        for name, site in plan.sites.items()
    }
    weights = {name: share.first(weight) for name, weight in plan.weights.items()}
    return replace(plan, sites=sites, weights=weights)
