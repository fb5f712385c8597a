"""Which classes are taken for which others: by the original, and after the last step scored."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from convsnn.measure.evaluate import Evaluation
from convsnn.measure.tasks.classify import class_numbers


@dataclass(frozen=True)
class Answers:
    """What samples with `labels` were answered, class numbers (N,) both, of so many `classes`.

    Tables of all classes are made on demand only: some networks have more than twenty thousand.
    """

    labels: Tensor
    answers: Tensor
    classes: int

    def table(self) -> Tensor:
        """How often each class (row) was answered with each (column)."""
        square = self.classes**2
        places = self.labels * self.classes + self.answers
        return torch.bincount(places, minlength=square).reshape(self.classes, self.classes)

    def samples(self) -> list[int]:
        """Of each class."""
        found: list[int] = torch.bincount(self.labels, minlength=self.classes).tolist()
        return found


@dataclass(frozen=True)
class Confusion:
    """The answers of the original, `ann`, and of the spiking network after `step` steps, `snn`."""

    step: int
    ann: Answers
    snn: Answers


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
    labels = class_numbers(targets).long()
    before, after = (
        Answers(labels.to(each.device), each.long(), classes) for each in (originals, answers[-1])
    )
    return Confusion(evaluation.activity.at[-1], before, after)


def share_right(given: Answers) -> list[float | None]:
    """Accuracy by class; None for classes of which there was no sample."""
    right = given.labels[given.labels == given.answers]
    known = torch.bincount(right, minlength=given.classes).tolist()
    return [r / s if s else None for r, s in zip(known, given.samples(), strict=True)]


def most_confused(given: Answers, most: int) -> Iterator[Pair]:
    """The `most` pairs of different classes that were confused most often, most often first."""
    wrong = given.labels != given.answers
    pairs = (given.labels * given.classes + given.answers)[wrong]
    places, counts = pairs.unique(return_counts=True)
    for index in counts.argsort(descending=True, stable=True)[:most].tolist():
        label, answer = divmod(int(places[index]), given.classes)
        yield Pair(label, answer, int(counts[index]))
