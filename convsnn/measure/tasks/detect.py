"""Boxes around objects: mean average precision of what a grid of cells says (see `boxes`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convsnn.errors import MissingExtraError
from convsnn.measure import boxes as geometry
from convsnn.measure.sharing import Share, rows_of_all
from convsnn.measure.tasks.base import TASKS, Score, Shape, Tally, Task, close, described

LIKELY = 0.4  # the score from which on a box is drawn, as LT-SNN's authors have it
_WHERE = slice(1, 5)  # of a row: its sample, four edges, then score and class, or class alone


@TASKS.register("detect")
@dataclass(frozen=True)
class Detect(Task):
    """Boxes with a class: mean average precision at an overlap of 0.5, over 0.5 to 0.95, and of
    each class; `boxes` in each cell of the output's grid, those below `confidence` left out.

    Targets are (N, M, 5): left, top, width and height as parts of the image's sides, class, -1 for
    rows that only fill up. pycocotools counts, by way of torchmetrics.
    """

    boxes: int = 2
    confidence: float = 0.05

    name = "detect"
    headline = "map50"
    agreement_kind = "closeness"

    def __post_init__(self) -> None:
        if self.boxes < 1 or not 0 <= self.confidence <= 1:
            raise ValueError("boxes is at least 1, and confidence lies between 0 and 1")

    def natural(self, targets: Tensor, shape: Shape) -> bool:
        """See `Task`."""
        return geometry.are_boxes(targets) and self.classes(shape) > 0 and len(targets) > 0

    def misfit(self, targets: Tensor | None, shape: Shape) -> str:
        """See `Task`."""
        classes = self.classes(shape)
        if classes < 1:
            return f"outputs of shape {shape} are no grid of cells with {self.boxes} boxes each"
        if targets is None:
            return ""
        if not geometry.are_boxes(targets):
            return f"targets ({described(targets)}) are no boxes of five numbers"
        return geometry.misfit(targets, classes)

    def classes(self, shape: Shape) -> int:
        """How many classes outputs of `shape` tell apart; 0 where they are no grid."""
        return max(0, shape[0] - 5 * self.boxes) if len(shape) == 3 else 0

    def find(self, outputs: Tensor, *, least: float | None = None) -> geometry.Found:
        """The boxes in outputs (N, *shape) from the confidence `least` on."""
        return geometry.find(outputs, self.boxes, least=self.confidence if least is None else least)

    def agreement(self, got: Tensor, wanted: Tensor) -> Tensor:
        """See `Task`."""
        return close(got, wanted)

    def tally(self, outputs: Tensor, decided: Tensor | None, targets: Tensor) -> Tally:
        """See `Task`; `found` has a row for each box at each step, the step first, `wanted` one
        for each box of the data."""
        del decided
        require_pycocotools()
        steps, samples = outputs.shape[:2]
        rows = []
        for step, answers in enumerate(outputs):
            found = self.find(answers).rows().cpu()
            rows.append(torch.cat([torch.full((len(found), 1), step).double(), found], 1))
        sample, place = torch.nonzero(targets[..., 4] != geometry.NO_BOX, as_tuple=True)
        told = targets[sample, place].double()
        wanted = torch.cat([sample[:, None], geometry.corners(told), told[:, 4:]], 1)
        return {
            "samples": torch.full((steps,), samples),
            "found": torch.cat(rows),
            "wanted": wanted.cpu(),
        }

    def nothing(self, steps: int, shape: Shape) -> Tally:
        """See `Task`."""
        del shape
        none = {"found": 8, "wanted": 6}
        return {
            "samples": torch.zeros(steps, dtype=torch.int64),
            **{key: torch.zeros(0, width, dtype=torch.float64) for key, width in none.items()},
        }

    def added(self, one: Tally, other: Tally) -> Tally:
        """See `Task`: the samples of the other are numbered behind those of the one."""
        moved = _behind(other, int(one["samples"][0]))
        joint = {key: torch.cat([one[key], moved[key]]) for key in ("found", "wanted")}
        return {"samples": one["samples"] + other["samples"], **joint}

    def of_all(self, tally: Tally, share: Share) -> Tally:
        """See `Task`."""
        counts = torch.zeros(share.count, dtype=torch.int64)
        counts[share.number] = tally["samples"][0]
        moved = _behind(tally, int(share.add(counts)[: share.number].sum()))
        joint = {key: rows_of_all(share, moved[key]) for key in ("found", "wanted")}
        return {"samples": share.add(tally["samples"]), **joint}

    def scores(self, tally: Tally) -> list[tuple[Score, Tensor]]:
        """See `Task`."""
        found, wanted = tally["found"], tally["wanted"]
        known = wanted[:, 5].unique().long().tolist()
        samples = int(tally["samples"][0])
        rows = []
        for step in range(len(tally["samples"])):
            rows.append(_precisions(found[found[:, 0] == step, 1:], wanted, samples, known))
        each = torch.tensor(rows, dtype=torch.float64).T
        return [
            (Score("map50", "mAP at overlap 0.5"), each[0]),
            (Score("map", "mAP over 0.5 to 0.95"), each[1]),
            *(
                (Score(f"ap50_{number}", f"class {number}", group="AP at 0.5 per class"), values)
                for number, values in zip(known, each[2:], strict=True)
            ),
        ]

    def doubt(self, tally: Tally) -> str:
        """See `Task`."""
        value = float(self.scores(tally)[0][1][0])
        return f"has a mAP of {value:.2%}: it finds next to nothing" if value < 0.01 else ""


def require_pycocotools() -> None:
    """MissingExtraError where nothing counts the precision of boxes."""
    try:
        import pycocotools  # noqa: F401
    except ImportError:
        raise MissingExtraError("pycocotools, which scores boxes,", "detect") from None


def _behind(tally: Tally, count: int) -> Tally:
    """The tally with its samples numbered from `count` on."""
    found, wanted = tally["found"].clone(), tally["wanted"].clone()
    found[:, 1] += count
    wanted[:, 0] += count
    return {**tally, "found": found, "wanted": wanted}


def _precisions(found: Tensor, wanted: Tensor, samples: int, known: Sequence[int]) -> list[float]:
    """Mean average precision at 0.5 and over 0.5 to 0.95, and that at 0.5 of each known class."""
    require_pycocotools()
    from torchmetrics.detection import MeanAveragePrecision

    if not known:
        return [torch.nan, torch.nan]
    metric = MeanAveragePrecision(extended_summary=True)
    for mine, there in zip(_by_sample(found, samples), _by_sample(wanted, samples), strict=True):
        said = {"scores": mine[:, 5], "labels": mine[:, 6].long(), "boxes": mine[:, _WHERE]}
        metric.update([said], [{"labels": there[:, 5].long(), "boxes": there[:, _WHERE]}])
    told: dict[str, Any] = metric.compute()
    classes = told["classes"].reshape(-1).tolist()
    curves = told["precision"][0, :, :, 0, -1].double()  # at 0.5, of every size, of all boxes
    each = [float(curves[:, classes.index(number)].mean()) for number in known]
    return [float(told["map_50"]), float(told["map"]), *each]


def _by_sample(rows: Tensor, samples: int) -> Sequence[Tensor]:
    """The rows of each sample, whose number stands first."""
    number = rows[:, 0].long()
    counts = torch.bincount(number, minlength=samples)
    return rows[number.argsort(stable=True)].split(counts.tolist())
