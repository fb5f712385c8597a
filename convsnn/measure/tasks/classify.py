"""One class out of several for each sample: the largest score names it."""

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from convsnn.measure.tasks.base import (
    TASKS,
    Score,
    Shape,
    Tally,
    Task,
    described,
    one_hot,
    whole,
)

ERRORS = 3.0  # standard errors above guessing from which on an accuracy is not luck
SEVERAL = 5  # top-5: the class is among so many of the largest scores


@TASKS.register("classify")
@dataclass(frozen=True)
class Classify(Task):
    """One class out of several: top-1 and top-5 accuracy.

    Of equal scores the first counts as the largest, at top-5 as at top-1. The two are counted here:
    they are a comparison and a sum, and a library's way took longer than small networks do.
    """

    name = "classify"
    headline = "accuracy"
    agreement_kind = "same class"

    def natural(self, targets: Tensor, shape: Shape) -> bool:
        """See `Task`."""
        return whole(targets) and targets.dim() == 1 and len(shape) == 1 and shape[0] > 1

    def misfit(self, targets: Tensor | None, shape: Shape) -> str:
        """See `Task`."""
        if len(shape) != 1 or shape[0] < 2:
            return f"outputs of shape {shape} are no scores of classes"
        if targets is None:
            return ""
        single = targets.dim() == 1 or targets.shape[1:] == (1,)
        if not single and not (one_hot(targets) and targets.shape[1:] == shape):
            return f"targets ({described(targets)}) are neither class numbers nor one-hot rows"
        if single and bool((targets != targets.round()).any() if not whole(targets) else False):
            return f"targets ({described(targets)}) are no whole numbers"
        if not single or not targets.numel():
            return ""
        low, high = int(targets.min()), int(targets.max())
        if low < 0 or high >= shape[0]:
            return (
                f"labels reach from {low} to {high}, but the network has {shape[0]} classes "
                f"(0 to {shape[0] - 1})"
            )
        return ""

    def decided(self, outputs: Tensor) -> Tensor:
        """See `Task`."""
        return outputs.argmax(2)

    def agreement(self, got: Tensor, wanted: Tensor) -> Tensor:
        """See `Task`."""
        return (got == wanted).double()

    def tally(self, outputs: Tensor, decided: Tensor | None, targets: Tensor) -> Tally:
        """See `Task`."""
        assert decided is not None
        labels = class_numbers(targets)
        classes = outputs.shape[2]
        seen = torch.bincount(labels.cpu(), minlength=classes)
        sums = {
            "accuracy": (decided == labels).sum(1).cpu(),
            "seen": seen.expand(len(outputs), -1),
        }
        if classes > SEVERAL:
            sums["top5"] = (_rank(outputs, labels) < SEVERAL).sum(1).cpu()
        return sums

    def nothing(self, steps: int, shape: Shape) -> Tally:
        """See `Task`."""
        none = torch.zeros(steps, dtype=torch.int64)
        sums = {"accuracy": none, "seen": torch.zeros(steps, shape[0], dtype=torch.int64)}
        return {**sums, "top5": none} if shape[0] > SEVERAL else sums

    def scores(self, tally: Tally) -> list[tuple[Score, Tensor]]:
        """See `Task`."""
        samples = tally["seen"].sum(1)
        found = [(Score("accuracy", "accuracy"), tally["accuracy"].double() / samples)]
        if "top5" in tally:
            found.append((Score("top5", "top 5"), tally["top5"].double() / samples))
        return found

    def doubt(self, tally: Tally) -> str:
        """See `Task`."""
        seen = tally["seen"][0]
        samples, classes = int(seen.sum()), len(seen)
        chance = 1 / classes
        luck = ERRORS * sqrt(chance * (1 - chance) / samples)
        right = int(tally["accuracy"][0]) / samples
        if right >= chance + luck:
            return ""
        return f"is right on {right:.2%}, no better than guessing among {classes} classes"


def class_numbers(targets: Tensor) -> Tensor:
    """Class numbers int64 (B,) from (B,), (B, 1) or one-hot rows (B, classes)."""
    if targets.dim() == 2 and targets.shape[1] > 1:
        return targets.argmax(1)
    return targets.reshape(-1).long()


def _rank(outputs: Tensor, labels: Tensor) -> Tensor:
    """How many scores stand before that of the right class, (T, B)."""
    place = labels.expand(len(outputs), -1)[..., None]
    own = outputs.gather(2, place)
    earlier = torch.arange(outputs.shape[2], device=outputs.device) < place
    return ((outputs > own) | ((outputs == own) & earlier)).sum(2)
