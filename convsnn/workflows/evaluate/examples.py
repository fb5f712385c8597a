"""A few of the samples that were scored, looked at closely: which, and what is kept of them.

They are run once more, in the float32 reference, whatever was scored in.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convsnn.graph import run
from convsnn.measure import Evaluation
from convsnn.measure.fitting import in_pieces
from convsnn.measure.tasks.classify import class_numbers
from convsnn.random import uniform
from convsnn.report.page.examples import rounded
from convsnn.report.page.stepping import spaced
from convsnn.simulate import Glimpse, glimpse
from convsnn.spiking.network import Spiking
from convsnn.workflows.evaluate.depicted import Depicted, mapped_layers
from convsnn.workflows.evaluate.watched import WINDOW, draw_neurons, watched_section
from zoo.data import Part, Preprocessing

MOST = 6  # samples, where nobody says how many
ONE_IN = 50  # of those scored, so that looking costs little beside scoring
LEADING = 5  # outputs shown of a sample
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
    return [*lost, *(one for one in drawn if one not in lost)][:count]


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
    look = _Look(net.to(device=device), evaluation, seed)
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
                    **look.series(
                        seen, originals, row, labels if labels is None else labels[one.place]
                    ),
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


class _Look:
    """Runs samples once more, and says what they did."""

    def __init__(self, net: Spiking, evaluation: Evaluation, seed: int) -> None:
        self._net, self._evaluation = net, evaluation
        self._steps = evaluation.activity.steps
        vector = len(net.graph.shapes[net.graph.outputs[0]]) == 1
        known = evaluation.activity.at
        self.at = spaced(known, self._steps) if vector else [self._steps]
        self.window = min(WINDOW, self._steps)
        self.neurons = draw_neurons(net.graph, seed)

    def all(
        self, batches: Any, ids: Tensor
    ) -> Iterator[tuple[Tensor, Glimpse, tuple[Tensor, ...]]]:
        """The samples, piece by piece, what was seen of them, and the original's outputs."""
        net, done = self._net, 0

        def look(x: Tensor, _: Tensor | None) -> tuple[Tensor, Glimpse, tuple[Tensor, ...]]:
            x = x.to(next(iter(net.graph.tensors.values())).device)
            seen = glimpse(
                net,
                x,
                steps=self._steps,
                at=self.at,
                neurons=self.neurons,
                window=self.window,
                mapped=mapped_layers(net.graph),
                ids=ids[done : done + len(x)],
            )
            with torch.no_grad():
                found = run(net.graph, net.encoder.still(x))
            return x.cpu(), seen, tuple(found[name].cpu() for name in net.graph.outputs)

        for piece in in_pieces(batches, look):
            yield piece
            done += len(piece[0])

    def series(
        self, seen: Glimpse, originals: Sequence[Tensor], row: int, label: Tensor | None
    ) -> dict[str, Any]:
        """Answers and some outputs of a sample over time, and how active its layers were."""
        graph = self._net.graph
        activity = [
            float(seen.events[name][row]) / (torch.Size(graph.shapes[name]).numel() * self._steps)
            for name in graph.sites
        ]
        outputs, wanted = seen.outputs[0][:, row], originals[0][row]
        found: dict[str, Any] = {"answers": [], "outputs": [], "activity": rounded(activity)}
        if outputs.dim() != 2:
            return found
        decided = self._evaluation.task.decided(outputs[:, None])
        if self._evaluation.predictions is not None and decided is not None:
            found["answers"] = decided[:, 0].tolist()
        found["outputs"] = [
            {
                "output": place,
                "ann": rounded([float(wanted[place])])[0],
                "snn": rounded(outputs[:, place].tolist()),
            }
            for place in self._shown(outputs[-1], wanted, label)
        ]
        return found

    def _shown(self, last: Tensor, wanted: Tensor, label: Tensor | None) -> list[int]:
        """Which outputs: the first of a regression, else the leading ones and that of the label."""
        if self._evaluation.task.name == "regress":
            return list(range(min(LEADING, len(last))))
        leading = last.argsort(descending=True).tolist()
        first = [leading[0], int(wanted.argmax())] + ([] if label is None else [int(label)])
        return list(dict.fromkeys([*first, *leading]))[:LEADING]
