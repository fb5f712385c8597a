"""What a detector learns from: boxes of the data against what a grid of cells says of them.

    yolo = (5 sum (x - x')^2 + (y - y')^2 + (sqrt w - sqrt w')^2 + (sqrt h - sqrt h')^2
           + sum (c - IoU)^2 + 1/2 sum over boxes without an object c^2 + sum (p - p')^2) / B

(Redmon et al. 2016, "You only look once", equation 3; LT-SNN's detector is trained by it.) An
object belongs to the cell of its centre, of several in one the largest, and there to the box that
overlaps it most; p are the scores of the classes. See `convsnn.measure.boxes` for what stands
where. Over time it is LT-SNN's equation 12 with this in the place of the cross-entropy:

    beta mean_t yolo(O(t)) + (1 - beta) mean_t MSE(O(t), mean threshold)     over "steps"
    beta yolo(mean_t O(t)) + (1 - beta) mean_t MSE(O(t), mean threshold)     over "mean"
"""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from convsnn.errors import ConfigError
from convsnn.measure import boxes as geometry
from convsnn.train.losses import LOSSES, mean_threshold

PLACES, NO_OBJECT = 5.0, 0.5  # weights of where boxes are, and of those without an object


@runtime_checkable
class BoxLoss(Protocol):
    """A loss of outputs (T, B, K + 5 A, rows, columns) for boxes (B, M, 5); see `Loss`."""

    boxes: int

    def __call__(
        self, logits: Tensor, labels: Tensor, *, thresholds: tuple[Tensor, ...] = ()
    ) -> Tensor:
        """The loss, a mean over the batch."""
        ...

    def right(self, answers: Tensor, labels: Tensor) -> Tensor:
        """How well each sample's boxes are met, (B,) from 0 to 1."""
        ...


@LOSSES.register("yolo")
@dataclass(frozen=True)
class Yolo:
    """YOLO's sum of squares for a grid with `boxes` in every cell."""

    boxes: int = 2
    over: Literal["mean", "steps"] = "mean"
    beta: float = 1.0

    def __post_init__(self) -> None:
        if self.boxes < 1:
            raise ValueError(f"boxes is at least 1, not {self.boxes}")
        if not 0 <= self.beta <= 1:
            raise ValueError(f"beta lies between 0 and 1, not {self.beta}")

    def __call__(
        self, logits: Tensor, labels: Tensor, *, thresholds: tuple[Tensor, ...] = ()
    ) -> Tensor:
        """See `Loss`; ConfigError for labels that are no boxes."""
        grid = logits.dim() == 5 and logits.shape[2] > 5 * self.boxes
        if not geometry.are_boxes(labels) or not grid:
            raise ConfigError(
                "the loss 'yolo' needs boxes to learn from, and a network that ends in a grid",
                hint="use it with a detector, on data with boxes",
            )
        if self.over == "steps":
            fit = yolo(logits.flatten(0, 1), labels.repeat(len(logits), 1, 1), self.boxes)
        else:
            fit = yolo(logits.mean(0), labels, self.boxes)
        if self.beta == 1:
            return fit
        drawn = (logits - mean_threshold(thresholds)).square().mean()
        return self.beta * fit + (1 - self.beta) * drawn

    def right(self, answers: Tensor, labels: Tensor) -> Tensor:
        """How far each sample's boxes are overlapped by the best of their cell, a mean over them;
        1 for a sample without any."""
        objects = _objects(labels, answers, self.boxes)
        best = objects.ious.max(2).values * objects.there
        count = objects.there.sum(1)
        return torch.where(count > 0, best.sum(1) / count.clamp(min=1), 1.0)


@dataclass(frozen=True)
class _Objects:
    """The M objects of every sample beside what their cells say: which rows are `there` (B, M),
    the boxes `wanted` as their cells should say it, (B, M, 4), and their `label` (B, M), `raw` and
    `confidence` of their cells' A boxes, (B, M, A, 4) and (B, M, A), the `ious` of these, and the
    `classes`."""

    there: Tensor
    wanted: Tensor
    label: Tensor
    raw: Tensor
    confidence: Tensor
    ious: Tensor
    classes: Tensor


def yolo(outputs: Tensor, targets: Tensor, boxes: int) -> Tensor:
    """The loss of outputs (B, K + 5 A, rows, columns) for boxes (B, M, 5), a mean over B."""
    found = _objects(targets, outputs, boxes)
    best = found.ious.argmax(2, keepdim=True)
    raw = found.raw.gather(2, best[..., None].expand(-1, -1, -1, 4))[:, :, 0]
    confidence = found.confidence.gather(2, best)[..., 0]
    iou = found.ious.gather(2, best)[..., 0]
    one = torch.nn.functional.one_hot(found.label, found.classes.shape[2]).to(outputs)
    places = (raw - found.wanted).square().sum(2)
    classes = (found.classes - one).square().sum(2)
    each = PLACES * places + (confidence - iou).square() + classes
    each = each - NO_OBJECT * confidence.square()  # which the sum over all boxes holds as well
    empty = NO_OBJECT * geometry.cells(outputs, boxes).confidence.square().sum()
    return ((each * found.there).sum() + empty) / len(outputs)


def _objects(targets: Tensor, outputs: Tensor, boxes: int) -> _Objects:
    real = targets[..., 4] != geometry.NO_BOX
    targets = torch.where(real[..., None], targets, 0)  # rows that fill up may hold anything
    rows, columns = outputs.shape[-2:]
    told = geometry.cells(outputs, boxes)
    middle = targets[..., :2] + targets[..., 2:4] / 2
    size = torch.tensor([columns, rows]).to(middle)
    cell = (middle * size).floor().clamp(min=0).minimum(size - 1)
    place = (cell[..., 1] * columns + cell[..., 0]).long()
    there = real & _largest(place, targets[..., 2:4].prod(-1), real)
    wanted = torch.cat([middle * size - cell, targets[..., 2:4].clamp(min=0).sqrt()], 2)

    def at(values: Tensor) -> Tensor:
        """Values (B, ..., rows, columns) of the objects' cells, (B, M, ...)."""
        flat = values.flatten(-2).movedim(-1, 1)
        index = place.reshape(*place.shape, *[1] * (flat.dim() - 2))
        return flat.gather(1, index.expand(-1, -1, *flat.shape[2:]))

    with torch.no_grad():
        edges = told.corners().movedim(-1, 2)  # (B, A, 4, rows, columns)
        ious = geometry.iou(at(edges), geometry.corners(targets)[:, :, None])
    return _Objects(
        there, wanted.to(outputs), targets[..., 4].long(), at(told.raw),
        at(told.confidence), ious, at(told.classes),
    )  # fmt: skip


def _largest(place: Tensor, area: Tensor, real: Tensor) -> Tensor:
    """Which objects (B, M) are the largest `real` ones of their cell, of equal ones the first."""
    order = torch.arange(place.shape[1], device=place.device)
    together = (place[:, :, None] == place[:, None, :]) & real[:, None, :]
    larger = area[:, None, :] > area[:, :, None]
    earlier = (area[:, None, :] == area[:, :, None]) & (order < order[:, None])
    return ~(together & (larger | earlier)).any(2)
