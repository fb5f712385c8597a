"""Which classes are taken for which others: by the original, and after the last step scored."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from convsnn.measure.evaluate import Evaluation
from convsnn.measure.tasks.classify import class_numbers


@dataclass(frozen=True)
class Confusion:
    """How often each class (row) was answered with each (column): `ann` of the original, `snn` of
    the spiking network after `step` steps, both (classes, classes) of whole numbers."""

    step: int
    ann: Tensor
    snn: Tensor


@dataclass(frozen=True)
class Pair:
    """Samples of the class `label` that were answered with another class."""

    label: int
    answer: int
    samples: int


def confusion(evaluation: Evaluation, targets: Tensor | None, classes: int) -> Confusion | None:
    """What an evaluation on samples with these `targets` took for what; None without classes."""
    answers, originals = evaluation.predictions, evaluation.ann_predictions
    if targets is None or answers is None or originals is None:
        return None
    labels = class_numbers(targets)
    step = evaluation.activity.at[-1]
    return Confusion(step, _table(originals, labels, classes), _table(answers[-1], labels, classes))


def share_right(table: Tensor) -> list[float | None]:
    """Accuracy by class; None for classes of which there was no sample."""
    right, seen = table.diagonal().tolist(), table.sum(1).tolist()
    return [r / s if s else None for r, s in zip(right, seen, strict=True)]


def most_confused(table: Tensor, most: int) -> Iterator[Pair]:
    """The `most` pairs of different classes that were confused most often, most often first."""
    wrong = table.clone().fill_diagonal_(0).flatten()
    classes = len(table)
    for place in wrong.argsort(descending=True, stable=True)[:most].tolist():
        if int(wrong[place]):
            yield Pair(place // classes, place % classes, int(wrong[place]))


def _table(answers: Tensor, labels: Tensor, classes: int) -> Tensor:
    return multiclass_confusion_matrix(
        answers.long(), labels.to(answers.device), num_classes=classes, validate_args=False
    ).to(torch.int64)
