"""What a report says of single classes: their names, accuracy by class, which were confused."""

from collections.abc import Mapping, Sequence
from typing import Any

from convsnn.measure import Evaluation
from convsnn.measure.confusion import confusion
from convsnn.measure.tasks.detect import Detect
from convsnn.report.page.classes import classes_section
from convsnn.spiking.network import Spiking
from convsnn.workflows.subject.class_names import class_names_of
from zoo.data import Part, class_names


def names_of(net: Spiking, evaluation: Evaluation, part: Part) -> list[str] | None:
    """What the classes are called: as the network says, or else the data that it is scored on."""
    known = class_names_of(net, None, task=evaluation.task) or class_names(part)
    fits = known is not None and len(known) == _number(net, evaluation)
    return known if fits else None


def _number(net: Spiking, evaluation: Evaluation) -> int:
    shape, task = net.graph.shapes[net.graph.outputs[0]], evaluation.task
    return task.classes(shape) if isinstance(task, Detect) else shape[0]


def named_scores(
    net: Spiking, evaluation: Evaluation, part: Part, metrics: Mapping[str, Mapping[str, Any]]
) -> dict[str, Mapping[str, Any]]:
    """The `metrics` of a report in which scores of single classes have the names of these."""
    names = names_of(net, evaluation, part)
    if names is None:
        return dict(metrics)
    named = dict(metrics)
    for key, one in metrics.items():
        number = key.rpartition("_")[2]  # of a class, in the tasks here; another's may say more
        if one.get("group") and number.isdecimal() and int(number) < len(names):
            named[key] = {**one, "label": names[int(number)]}
    return named


def classes_of(
    net: Spiking, evaluation: Evaluation, part: Part, indices: Sequence[int]
) -> Mapping[str, Any]:
    """The section `classes` for an evaluation on the samples `indices` of `part`; nothing where no
    classes are scored."""
    targets = part.targets
    number = net.graph.shapes[net.graph.outputs[0]][0]
    table = confusion(evaluation, None if targets is None else targets[list(indices)], number)
    if table is None:
        return {}
    return {"classes": classes_section(table, names_of(net, evaluation, part))}
