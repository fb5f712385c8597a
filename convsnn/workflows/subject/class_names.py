"""How the outputs of a saved network are read: for which task, and what its classes are called.

One rule for every command: what was said now goes before what the network says of itself, and
whoever names classes says that there are some.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convsnn.errors import ConfigError, LoadError
from convsnn.measure.boxes import head_misfit
from convsnn.measure.evaluate import is_classifier
from convsnn.measure.tasks import Task, decide
from convsnn.measure.tasks.base import Shape
from convsnn.measure.tasks.detect import Detect
from convsnn.spiking.network import Spiking

Names = str | Path | Sequence[str]  # of classes: a text file with one a line, or the names


def task_of(net: Spiking, asked: str | None = None, *, labels: Names | None = None) -> Task:
    """The task that was asked for, or the network's own, or classes where outputs look like scores
    of these and nobody says otherwise; ConfigError where the outputs are not of the task."""
    said = asked or net.provenance.get("task")
    open_to = said is None or (asked is None and labels is not None and said == "none")
    if open_to and is_classifier(net.graph):
        said = "classify"
    return decide(None, net.graph, asked=said).task


def class_names_of(net: Spiking, labels: Names | None, *, task: Task) -> list[str] | None:
    """What the classes of `net` are called: as given, or as it knows itself; None where nobody says
    or its answers are no classes.

    Raises LoadError for a file that cannot be read, ConfigError where there are not as many names
    as classes, or no classes to name.
    """
    shape = net.graph.shapes[net.graph.outputs[0]]
    classes = _classes(task, shape)
    if labels is None:
        known = stored_names(net.provenance)
        require_named_head(task, shape, known, whose="the classes of the network")
        return known if known is not None and len(known) == classes else None
    if not classes:
        raise ConfigError(
            f"names of classes were given, but the outputs are read as '{task.name}'",
            hint="leave --labels out",
        )
    names = _lines(labels) if isinstance(labels, str | Path) else [str(name) for name in labels]
    if len(names) != classes:
        raise ConfigError(
            f"{len(names)} names are given for {classes} classes",
            hint="give one for each class, in the order of their numbers",
        )
    return names


def stored_names(provenance: Mapping[str, Any]) -> list[str] | None:
    """The names of classes that an artifact's header holds, which may hold anything."""
    known = provenance.get("labels")
    if not isinstance(known, list | tuple) or not all(isinstance(name, str) for name in known):
        return None
    return list(known)


def require_named_head(
    task: Task, shape: Shape, names: Sequence[str] | None, *, whose: str
) -> None:
    """ConfigError where outputs of `shape` are read as boxes of another number of classes than
    there are `names`; `whose` these are is for the message."""
    if isinstance(task, Detect) and names:
        wrong, hint = head_misfit(shape[0], task.boxes, len(names))
        if wrong:
            raise ConfigError(
                f"the outputs, of shape {tuple(shape)}, cannot be read as '{task.name}': {wrong}, "
                f"and {whose} are {len(names)}: {', '.join(names)}",
                hint=f"say --task detect:boxes=N; {hint}",
            )


def _classes(task: Task, shape: Shape) -> int:
    """How many classes have names in outputs of `shape`; 0 for a task that names none."""
    if isinstance(task, Detect):
        return task.classes(shape)
    return shape[0] if task.name in ("classify", "multilabel") else 0


def _lines(path: str | Path) -> list[str]:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise LoadError(
            f"the names of classes in '{path}' cannot be read: {error}",
            hint="give a text file with one name in each line",
        ) from None
    return [line.strip() for line in lines if line.strip()]
