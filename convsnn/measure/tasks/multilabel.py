"""Any number of labels for each sample: each output says yes or no to one."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from convsnn.graph import Graph
from convsnn.measure.tasks.base import (
    TASKS,
    Score,
    Shape,
    Tally,
    Task,
    described,
    one_hot,
    whole,
    zeros_and_ones,
)
from convsnn.measure.tasks.sums import combined, summed

_SUMS = ("tp", "fp", "tn", "fn")


@TASKS.register("multilabel")
@dataclass(frozen=True)
class Multilabel(Task):
    """Labels that may all be there at once: F1 (mean over the labels), of each, and accuracy.

    An output above `threshold` says yes; by default above 0, or 0.5 where the network ends in a
    sigmoid. The F1 of a label that neither is there nor is said to be is 0.
    """

    threshold: float | None = None

    name = "multilabel"
    headline = "f1"
    agreement_kind = "same labels"

    def natural(self, targets: Tensor, shape: Shape) -> bool:
        """See `Task`."""
        fits = whole(targets) and not self.misfit(targets, shape)
        return fits and (shape == (1,) or not one_hot(targets))

    def misfit(self, targets: Tensor | None, shape: Shape) -> str:
        """See `Task`."""
        if len(shape) != 1:
            return f"outputs of shape {shape} are no scores of labels"
        if targets is None:
            return ""
        if not zeros_and_ones(targets):
            return f"targets ({described(targets)}) are not all 0 or 1"
        if targets.shape[1:] != shape and not (targets.dim() == 1 and shape == (1,)):
            return (
                f"targets ({described(targets)}) are not one 0 or 1 for each of {shape[0]} labels"
            )
        return ""

    def settled(self, graph: Graph) -> "Multilabel":
        """See `Task`."""
        if self.threshold is not None:
            return self
        ends = graph.by_name[graph.outputs[0]].op
        return replace(self, threshold=0.5 if ends in ("sigmoid", "softmax") else 0.0)

    def decided(self, outputs: Tensor) -> Tensor:
        """See `Task`."""
        return (outputs > (self.threshold or 0.0)).long()

    def agreement(self, got: Tensor, wanted: Tensor) -> Tensor:
        """See `Task`."""
        return (got == wanted).double().mean(2)

    def tally(self, outputs: Tensor, decided: Tensor | None, targets: Tensor) -> Tally:
        """See `Task`."""
        assert decided is not None
        steps, samples, labels = outputs.shape
        wanted = targets.long().reshape(1, samples, labels).expand_as(decided)
        columns = [each.movedim(0, 1).reshape(samples, -1) for each in (decided, wanted)]
        sums = summed("MultilabelF1Score", *columns)
        return {name: sums[name].reshape(steps, labels) for name in _SUMS}

    def nothing(self, steps: int, shape: Shape) -> Tally:
        """See `Task`."""
        return {name: torch.zeros(steps, shape[0], dtype=torch.int64) for name in _SUMS}

    def scores(self, tally: Tally) -> list[tuple[Score, Tensor]]:
        """See `Task`."""
        steps, labels = tally["tp"].shape
        flat = {name: tally[name].reshape(-1) for name in _SUMS}
        each = combined("MultilabelF1Score", flat).reshape(steps, labels)
        right = (tally["tp"] + tally["tn"]).double() / sum(tally[name] for name in _SUMS)
        return [
            (Score("f1", "F1"), each.mean(1)),
            (Score("label_accuracy", "accuracy of labels"), right.mean(1)),
            *(
                (Score(f"f1_{label}", f"label {label}", group="F1 per label"), each[:, label])
                for label in range(labels)
            ),
        ]

    def doubt(self, tally: Tally) -> str:
        """See `Task`."""
        there, samples = tally["tp"] + tally["fn"], sum(tally[name] for name in _SUMS)
        always = (2 * there.double() / (samples + there)).mean()
        value = float(self.scores(tally)[0][1][0])
        if value > float(always):
            return ""
        return f"has an F1 of {value:.2%}, no better than saying yes to every label"
