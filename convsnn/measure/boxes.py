"""Boxes: as they stand in the data, and as a network gives them from a grid of cells.

Boxes of the data are (..., 5): left and top edge, width and height as parts of the image's, and the
class; rows of class -1 fill up samples with fewer boxes. Outputs are (..., K + 5 A, rows, columns):
for each cell the scores of K classes, then A times the confidence that there is an object, its
centre within the cell (x, y, in cells) and the square roots of its width and height as parts of the
image's (Redmon et al. 2016, "You only look once", as the detector of LT-SNN has it).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

NO_BOX = -1  # the class of rows that only fill up
NMS_IOU = 0.5  # of two boxes of a class that share more than this the better one stays
MOST = 100  # boxes of a sample, the best ones
SLACK = 1e-4  # by which rounding may bring a box over the edge


@dataclass(frozen=True)
class Cells:
    """What a grid says: `classes` (..., K, rows, columns), and of its A boxes in each cell the
    `confidence` (..., A, rows, columns) and what places them, `raw` (..., A, 4, rows, columns)."""

    classes: Tensor
    confidence: Tensor
    raw: Tensor

    def corners(self) -> Tensor:
        """Left, top, right and bottom edge of every box, (..., A, rows, columns, 4), as parts of
        the image's sides."""
        rows, columns = self.raw.shape[-2:]
        down = torch.arange(rows, device=self.raw.device)[:, None]
        right = torch.arange(columns, device=self.raw.device)
        x, y, width, height = self.raw.unbind(-3)
        return _around((right + x) / columns, (down + y) / rows, width.square(), height.square())


def cells(outputs: Tensor, boxes: int) -> Cells:
    """Outputs (..., K + 5 A, rows, columns) by what they are, for A = `boxes` in each cell."""
    classes = outputs.shape[-3] - 5 * boxes
    each = outputs[..., classes:, :, :].unflatten(-3, (boxes, 5))
    return Cells(outputs[..., :classes, :, :], each[..., 0, :, :], each[..., 1:, :, :])


def corners(boxes: Tensor) -> Tensor:
    """The edges (..., 4) of boxes as they stand in the data."""
    left, top, width, height = boxes[..., :4].unbind(-1)
    return torch.stack([left, top, left + width, top + height], -1)


def iou(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of pairs of boxes by their edges, (..., 4) each that broadcast."""
    first = torch.maximum(one[..., :2], other[..., :2])
    last = torch.minimum(one[..., 2:], other[..., 2:])
    shared = (last - first).clamp(min=0).prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).clamp(min=0).prod(-1) for box in (one, other)]
    return shared / (areas[0] + areas[1] - shared).clamp(min=1e-12)


@dataclass(frozen=True)
class Found:
    """Boxes that were found: the number of their `sample`, `corners` (n, 4) within the image,
    `score` and class `label`, each (n,), the best first."""

    sample: Tensor
    corners: Tensor
    score: Tensor
    label: Tensor

    def of(self, sample: int) -> "Found":
        """Those of one sample."""
        mine = self.sample == sample
        return Found(self.sample[mine], self.corners[mine], self.score[mine], self.label[mine])

    def rows(self) -> Tensor:
        """A row (7,) of float64 for each: sample, four edges, score, class."""
        parts = (self.sample[:, None], self.corners, self.score[:, None], self.label[:, None])
        return torch.cat([part.double() for part in parts], 1)


def find(outputs: Tensor, boxes: int, *, least: float) -> Found:
    """The boxes in outputs (N, K + 5 A, rows, columns), each of its cell's likeliest class and
    scored by confidence times that class, within 0 and 1.

    Boxes below `least` are left out, and those that non-maximum suppression takes, class by class
    (`NMS_IOU`); of a sample there are no more than `MOST`.
    """
    from torchvision.ops import batched_nms, clip_boxes_to_image

    told = cells(outputs.double(), boxes)
    best, label = told.classes.clamp(0, 1).max(-3, keepdim=True)
    score = (told.confidence.clamp(0, 1) * best).flatten(1)
    sample, place = torch.nonzero(score >= least, as_tuple=True)
    score = score[sample, place]
    edges = clip_boxes_to_image(told.corners().flatten(1, 3)[sample, place], (1, 1))
    label = label.expand_as(told.confidence).flatten(1)[sample, place]
    kept = batched_nms(edges, score, sample * told.classes.shape[-3] + label, NMS_IOU)
    kept = kept[_rank(sample[kept]) < MOST]
    return Found(sample[kept], edges[kept], score[kept], label[kept])


def _rank(sample: Tensor) -> Tensor:
    """How many of the same sample stand before each."""
    order = sample.argsort(stable=True)
    there = sample[order]
    first = torch.searchsorted(there, there)
    rank = torch.empty_like(sample)
    rank[order] = torch.arange(len(sample), device=sample.device) - first
    return rank


def _around(x: Tensor, y: Tensor, width: Tensor, height: Tensor) -> Tensor:
    return torch.stack(
        [x - width / 2, y - height / 2, x + width / 2, y + height / 2],
        -1,
    )


def are_boxes(targets: Tensor) -> bool:
    """Whether targets (N, M, 5) look like boxes."""
    return targets.is_floating_point() and targets.dim() == 3 and targets.shape[2] == 5


def misfit(targets: Tensor, classes: int) -> str:
    """Why these targets (N, M, 5) are no boxes of `classes` classes; "" if they are."""
    label = targets[..., 4]
    wrong = (label != label.round()) | (label < NO_BOX)
    if bool(wrong.any()):
        return f"{_first(wrong)} has no class but {float(label[wrong][0]):g}"
    there = label != NO_BOX
    if bool((label >= classes).any()):
        return (
            f"{_first(label >= classes)} is of class {int(label.max())}, but the network has "
            f"{classes} classes (0 to {classes - 1})"
        )
    edges = corners(targets.double())
    inside = ((edges >= -SLACK) & (edges <= 1 + SLACK)).all(-1)
    if bool((there & ~inside).any()):
        return f"{_first(there & ~inside)} lies outside of the image, whose sides count as 0 to 1"
    flat = (targets[..., 2:4] <= 0).any(-1) & there
    if bool(flat.any()):
        return f"{_first(flat)} has no width or no height"
    return ""


def head_misfit(channels: int, boxes: int, classes: int) -> tuple[str, str]:
    """Why a cell's `channels` are no `boxes` for that many `classes`, and what to do about it; both
    "" if they are."""
    rest = channels - classes
    if rest == 5 * boxes:
        return "", ""
    text = f"{channels} channels with boxes={boxes} are {channels - 5 * boxes} classes"
    if rest > 0 and rest % 5 == 0:
        return text, f"with boxes={rest // 5} they are {classes} classes"
    form = f"a cell is the scores of all classes and five numbers a box: {classes} + 5 x boxes"
    if channels % (classes + 5) == 0:
        form += f"; {channels // (classes + 5)} x ({classes} + 5) has classes for every box"
    return text, form


def _first(wrong: Tensor) -> str:
    sample, place = torch.nonzero(wrong)[0].tolist()
    return f"box {place} of sample {sample}"
