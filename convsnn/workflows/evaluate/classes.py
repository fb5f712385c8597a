"""Accuracy by class and confused classes, for the report of a classifier."""

from collections.abc import Mapping, Sequence
from typing import Any

from convsnn.measure import Evaluation
from convsnn.measure.confusion import confusion
from convsnn.report.page.classes import classes_section
from convsnn.spiking.network import Spiking
from convsnn.workflows.subject.class_names import class_names_of
from zoo.data import Part, class_names


def names_of(net: Spiking, evaluation: Evaluation, part: Part) -> list[str] | None:
    """What the classes are called: as the network says, or else the data that it is scored on."""
    known = class_names_of(net, None, task=evaluation.task) or class_names(part)
    fits = known is not None and len(known) == net.graph.shapes[net.graph.outputs[0]][0]
    return known if fits else None


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
