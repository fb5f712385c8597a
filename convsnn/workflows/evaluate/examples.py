"""A few of the samples that were scored, looked at closely: which, and what the report holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convsnn.measure import Evaluation
from convsnn.measure.tasks.classify import class_numbers
from convsnn.random import uniform
from convsnn.spiking.network import Spiking
from convsnn.workflows.evaluate.depicted import Depicted
from convsnn.workflows.evaluate.look import Look
from convsnn.workflows.evaluate.watched import watched_section
from zoo.data import Part, Preprocessing

MOST = 6  # samples, where nobody says how many
ONE_IN = 100  # of those scored, so that looking costs little beside scoring
_SITE = -2  # draws that choose samples must not be those that encode them


def how_many(asked: int | None, scored: int) -> int:
    """Samples to look at: as many as were asked for, or a few."""
    return min(MOST, scored // ONE_IN) if asked is None else min(asked, scored)


@dataclass(frozen=True)
class Example:
    """The sample at `place` of those scored, and what it is an example of."""

    place: int
    kind: str


def chosen(evaluation: Evaluation, labels: Tensor | None, count: int, seed: int) -> list[Example]:
    """`count` samples in random order: of those that the conversion lost half, where there are as
    many, and the others of those that are right; of tasks without classes any."""
    order = uniform(seed, torch.arange(evaluation.samples), _SITE, range(1), ())[0].argsort()
    if evaluation.predictions is None or evaluation.ann_predictions is None:
        return [Example(place, "any") for place in order[:count].tolist()]
    snn, ann = evaluation.predictions[-1].long(), evaluation.ann_predictions.long()
    kinds = {"other": snn != ann, "same": snn == ann}
    if labels is not None:
        good, kept = ann == labels, snn == labels
        kinds = {
            "lost": good & ~kept, "right": good & kept, "gained": ~good & kept,
            "wrong": ~good & ~kept,
        }  # fmt: skip
    drawn = [
        Example(place, kind)
        for kind, which in kinds.items()
        for place in order[which[order]].tolist()
    ]
    first, second = list(kinds)[:2]
    lost = [one for one in drawn if one.kind == first][: max(1, count // 2)]
    lost += [one for one in drawn if one.kind == second][: count - len(lost)]
    rest = sorted((one for one in drawn if one not in lost), key=lambda one: one.kind == first)
    return [*lost, *rest][:count]


def examples_of(
    net: Spiking,
    evaluation: Evaluation,
    part: Part,
    indices: Sequence[int],
    *,
    count: int,
    seed: int,
    device: torch.device,
    preprocessing: Preprocessing | None,
) -> Mapping[str, Any]:
    """The section `examples` for `count` of the samples `indices` of `part`; nothing for none."""
    if not count:
        return {}
    targets = part.targets
    targets = None if targets is None else targets[list(indices)]
    classes = evaluation.predictions is not None and targets is not None
    labels = class_numbers(targets) if classes and targets is not None else None
    these = chosen(evaluation, labels, count, seed)
    look = Look(net.to(device=device), evaluation, seed)
    batches = part.batches(count, indices=[indices[one.place] for one in these])
    depicted = Depicted(net.graph, evaluation.task, preprocessing)
    ids = torch.tensor([one.place for one in these])
    samples: list[dict[str, Any]] = []
    watched: Mapping[str, Any] = {}
    for x, seen, originals in look.all(batches, ids):
        for row in range(len(x)):
            one = these[len(samples)]
            target = None if targets is None else targets[one.place]
            if not samples:
                watched = watched_section(seen, row, look.neurons)
            samples.append(
                {
                    "sample": indices[one.place],
                    "kind": one.kind,
                    **_answers(evaluation, labels, one.place),
                    **look.series(seen, originals, row, target),
                    **depicted.pictures(x[row], seen, originals, row, target),
                }
            )
    return {
        "examples": {
            "precision": "float32",
            "steps": look.at,
            "samples": samples,
            "watched": {"sample": 0, "steps": look.window, **watched},
        }
    }


def _answers(evaluation: Evaluation, labels: Tensor | None, place: int) -> dict[str, int | None]:
    """As they were scored."""
    snn, ann = evaluation.predictions, evaluation.ann_predictions
    return {
        "label": None if labels is None else int(labels[place]),
        "ann": None if ann is None else int(ann[place]),
        "snn": None if snn is None else int(snn[-1][place]),
    }
