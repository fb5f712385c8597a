"""A class for every place of an image: the largest score at each place names it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from convsnn.errors import MissingExtraError
from convsnn.measure.tasks.base import TASKS, Score, Shape, Tally, Task, described, whole
from convsnn.measure.tasks.sums import combined

IGNORED = 255  # places of this mask value, and those below zero, are not scored


@TASKS.register("segment")
@dataclass(frozen=True)
class Segment(Task):
    """A class for every place: mean IoU over the classes that occur, IoU of each, and the share of
    right places. Mask values of 255 (where no class has that number) and below 0 do not count."""

    name = "segment"
    headline = "miou"
    agreement_kind = "same classes"

    def natural(self, targets: Tensor, shape: Shape) -> bool:
        """See `Task`."""
        return whole(targets) and targets.dim() > 1 and _classes(targets, shape) is not None

    def misfit(self, targets: Tensor | None, shape: Shape) -> str:
        """See `Task`."""
        if len(shape) < 2:
            return f"outputs of shape {shape} are no scores of classes at places"
        if targets is None:
            return "" if shape[0] > 1 else f"outputs of shape {shape} have one class only"
        if not whole(targets) or (classes := _classes(targets, shape)) is None:
            return (
                f"targets ({described(targets)}) are no masks of whole numbers for outputs of "
                f"shape {shape}, which are (classes, height, width)"
            )
        counted = targets[_scored(targets, classes)]
        if counted.numel() and int(counted.max()) >= classes:
            return f"masks hold the class {int(counted.max())}, but the network has {classes}"
        return ""

    def decided(self, outputs: Tensor) -> Tensor:
        """See `Task`."""
        return outputs.argmax(2)

    def agreement(self, got: Tensor, wanted: Tensor) -> Tensor:
        """See `Task`."""
        return (got == wanted).double().flatten(2).mean(2)

    def tally(self, outputs: Tensor, decided: Tensor | None, targets: Tensor) -> Tally:
        """See `Task`."""
        assert decided is not None
        try:
            from torchmetrics.functional.classification import multiclass_confusion_matrix
        except ImportError:
            raise MissingExtraError("torchmetrics", "all") from None
        classes = outputs.shape[2]
        mask, scored = targets.long().to(decided.device), _scored(targets, classes)
        scored = scored.to(decided.device)
        tables = [
            multiclass_confusion_matrix(
                step[scored], mask[scored], num_classes=classes, validate_args=False
            )
            for step in decided
        ]
        return {"confmat": torch.stack(tables).cpu()}

    def nothing(self, steps: int, shape: Shape) -> Tally:
        """See `Task`."""
        return {"confmat": torch.zeros(steps, shape[0], shape[0], dtype=torch.int64)}

    def scores(self, tally: Tally) -> list[tuple[Score, Tensor]]:
        """See `Task`."""
        tables = tally["confmat"]
        each = torch.stack(
            [combined("MulticlassJaccardIndex", {"confmat": table}) for table in tables]
        )
        occurs = (tables.sum(1) + tables.sum(2)) > 0
        each = torch.where(occurs, each, torch.nan)
        right = tables.diagonal(dim1=1, dim2=2).sum(1).double() / tables.sum((1, 2))
        return [
            (Score("miou", "mIoU"), each.nanmean(1)),
            (Score("pixel_accuracy", "accuracy of pixels"), right),
            *(
                (Score(f"iou_{label}", f"class {label}", group="IoU per class"), each[:, label])
                for label in range(each.shape[1])
            ),
        ]

    def doubt(self, tally: Tally) -> str:
        """See `Task`."""
        table = tally["confmat"][0]
        places = max(1, int(table.sum()))
        right, most = int(table.diagonal().sum()) / places, int(table.sum(1).max()) / places
        if right > most:
            return ""
        return f"is right on {right:.2%} of the places, no better than always the same class"


def _classes(targets: Tensor, shape: Shape) -> int | None:
    """How many classes outputs of `shape` tell apart at the places of these masks."""
    return shape[0] if shape[1:] == tuple(targets.shape[1:]) and shape[0] > 1 else None


def _scored(targets: Tensor, classes: int) -> Tensor:
    """Which places count."""
    wide = targets.long()
    kept = wide >= 0
    return kept if classes > IGNORED else kept & (wide != IGNORED)
