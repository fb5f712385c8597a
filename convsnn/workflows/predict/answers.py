"""One batch run and its answers: what is decided, the largest scores, the step of settling.

An answer has settled at the first step from which on it never changes; with early exit at the step
at which the image leaves, because its lead is as large as the margins ask for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from convsnn.measure.early_exit import leave
from convsnn.measure.margins import Margins
from convsnn.measure.tasks import Task
from convsnn.measure.tasks.detect import LIKELY, Detect
from convsnn.simulate import Program, simulate

Row: TypeAlias = dict[str, Any]


def settled_at(decided: Tensor) -> Tensor:
    """From which step on, counted from 1, what is `decided` (T, B, ...) stays as it is, (B,)."""
    steps, samples = decided.shape[:2]
    last = (decided == decided[-1:]).reshape(steps, samples, -1).all(2)
    kept = last.flip(0).int().cumprod(0).sum(0)
    return steps - kept + 1


@dataclass(frozen=True)
class Answering:
    """How a network's outputs are read: for which `task`, the names of its classes, how many of
    them are wanted."""

    task: Task
    labels: list[str] | None
    top: int

    def __call__(
        self, program: Program, x: Tensor, steps: int, margins: Margins | None, *, first: int
    ) -> list[Row]:
        """The rows of a batch (B, *input shape) whose samples are numbered from `first`."""
        ids = torch.arange(first, first + len(x), device=x.device)
        if margins is not None:
            left = leave(program, x, margins, ids=ids)
            return self._classes(left.outputs, left.answers, left.steps.tolist(), left.steps)
        outputs = simulate(program, x, steps=steps, ids=ids, count=False).outputs
        ran = torch.full((len(x),), steps)
        if isinstance(self.task, Detect):
            return self._boxes(self.task, outputs[0][-1], steps)
        decided = self.task.decided(outputs[0])
        if decided is None:
            names = program.net.graph.outputs
            last = {n: o[-1].cpu() for n, o in zip(names, outputs, strict=True)}
            return [self._values({n: o[i] for n, o in last.items()}, steps) for i in range(len(x))]
        settled: Sequence[int | None] = settled_at(decided).tolist()
        if program.net.schedule == "layers":  # a single answer, which nothing came before
            settled = [None] * len(x)
        if self.task.name == "classify":
            return self._classes(outputs[0][-1], decided[-1], settled, ran)
        return [
            {"answer": answer, **self._named(answer), "settled": at, "steps": steps}
            for answer, at in zip(self._decisions(decided[-1]), settled, strict=True)
        ]

    def _classes(
        self, outputs: Tensor, answers: Tensor, settled: Sequence[int | None], ran: Tensor
    ) -> list[Row]:
        best = outputs.double().sort(dim=1, descending=True, stable=True)
        rows = []
        for scores, order, answer, at, steps in zip(
            best.values[:, : self.top].tolist(), best.indices[:, : self.top].tolist(),
            answers.tolist(), settled, ran.tolist(), strict=True,
        ):  # fmt: skip
            largest = [
                {"class": number, "label": self._label(number), "score": score}
                for number, score in zip(order, scores, strict=True)
            ]
            row = {"answer": answer, "label": self._label(answer), "top": largest}
            rows.append({**row, "settled": at, "steps": steps})
        return rows

    def _decisions(self, decided: Tensor) -> list[Any]:
        """Numbers of the labels that are there, or classes at every place."""
        if self.task.name != "multilabel":
            return list(decided.tolist())
        return [row.nonzero()[:, 0].tolist() for row in decided.cpu()]

    def _named(self, answer: Any) -> Row:
        if self.task.name != "multilabel" or self.labels is None:
            return {"label": None}
        return {"label": [self.labels[number] for number in answer]}

    def _boxes(self, task: Detect, outputs: Tensor, steps: int) -> list[Row]:
        """The classes of the boxes that are likely, the best first, and where these are: left,
        top, width and height as parts of the image's sides."""
        rows: list[Row] = []
        found = task.find(outputs, least=LIKELY)
        for sample in range(len(outputs)):
            mine = found.of(sample)
            left, top, right, bottom = mine.corners.unbind(1)
            places = torch.stack([left, top, right - left, bottom - top], 1)
            boxes = [
                {"class": number, "label": self._label(number), "score": score, "box": place}
                for number, score, place in zip(
                    mine.label.tolist(), mine.score.tolist(), places.tolist(), strict=True
                )
            ]
            said = None if self.labels is None else [box["label"] for box in boxes]
            answer = {"answer": mine.label.tolist(), "label": said, "boxes": boxes}
            rows.append({**answer, "settled": None, "steps": steps})
        return rows

    def _values(self, outputs: dict[str, Tensor], steps: int) -> Row:
        """Outputs that are themselves the answer, which never settles."""
        values = {name: output.tolist() for name, output in outputs.items()}
        answer = next(iter(values.values())) if len(values) == 1 else values
        return {"answer": answer, "label": None, "settled": None, "steps": steps}

    def _label(self, number: int) -> str | None:
        return None if self.labels is None else self.labels[number]
