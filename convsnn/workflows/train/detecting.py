"""What is otherwise where a recipe trains a network to find boxes: its data, its score, what is
shown of it."""

from collections.abc import Iterable, Mapping
from typing import Any

from convsnn.errors import ConfigError, LoadError
from convsnn.graph import Graph
from convsnn.measure import boxes
from convsnn.measure.tasks.base import described
from convsnn.measure.tasks.detect import Detect, require_pycocotools
from convsnn.train import LOSSES
from convsnn.train.boxes import BoxLoss
from zoo.data import Part
from zoo.models import Entry

SHOWN = 6  # samples whose boxes are drawn


def task_of(loss: str) -> Detect | None:
    """How the answers of a network that learns by this loss are read; None for classes."""
    found = LOSSES.create(loss)
    return Detect(boxes=found.boxes) if isinstance(found, BoxLoss) else None


def spec_of(task: Detect | None) -> str:
    """The name of the task with its options, as a network keeps it."""
    return "classify" if task is None else f"{task.name}:boxes={task.boxes}"


def require_boxes(parts: Iterable[Part], classes: int) -> None:
    """Raise LoadError unless all parts have boxes of so many classes, and at least one,
    MissingExtraError where nothing scores them: before training, which takes long."""
    require_pycocotools()
    for part in parts:
        where, targets = f"{part.source} ({part.split})", part.targets
        if targets is None or not boxes.are_boxes(targets):
            held = "" if targets is None else f" but targets ({described(targets)})"
            raise LoadError(
                f"{where} has no boxes{held}, which this training needs",
                hint="name data with boxes with --data: shapes, gen1:ROOT, or frames:TRAIN.npz,"
                "TEST.npz with y (N, M, 5)",
            )
        if wrong := boxes.misfit(targets, classes):
            raise LoadError(
                f"{where}: {wrong}",
                hint="a box is left, top, width and height as parts of the image's sides, and its "
                "class from 0 on; rows of class -1 only fill up",
            )
        if not bool((targets[..., 4] != boxes.NO_BOX).any()):
            raise LoadError(
                f"{where} holds no box: every row of its targets only fills up (class -1)",
                hint="name data with boxes of class 0 and above in both parts with --data",
            )


def require_head(graph: Graph, task: Detect, entry: Entry) -> None:
    """ConfigError unless the network ends in a grid whose cells are the model's classes and as many
    boxes as the loss takes them for."""
    shape = graph.shapes[graph.outputs[0]]
    wrong, hint = boxes.head_misfit(shape[0], task.boxes, entry.classes)
    if len(shape) != 3:
        wrong, hint = "that is no grid of cells", "choose a detector for this loss"
    if wrong:
        raise ConfigError(
            f"'{entry.name}', of {entry.classes} classes, ends in outputs of shape "
            f"{shape}, which the loss reads as boxes: {wrong}",
            hint=f"say loss=yolo:boxes=N with --set; {hint}" if len(shape) == 3 else hint,
        )


def headline(report: Mapping[str, Any]) -> list[float | None]:
    """The score of a trained network at every step, from its report; None where it has no value,
    as that of boxes where no scored sample holds any."""
    found: list[float | None] = report["metrics"][report["headline"]]["snn"]
    return found


def drawn(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The samples of a report whose boxes were drawn, for the training's page."""
    found = report.get("examples", {}).get("samples", [])
    return [
        {"sample": one["sample"], "pictures": one["pictures"]} for one in found if one["pictures"]
    ]
