"""Which task a data set and a network are for: as it was said, or as the targets decide it."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from convsnn.errors import ConfigError, LoadError
from convsnn.graph import Graph
from convsnn.measure.tasks.base import TASKS, Shape, Task, described

UNLABELLED = "no labels"


@dataclass(frozen=True)
class Decision:
    """A task, and `unscored`: why there are no scores ("" where there are)."""

    task: Task
    unscored: str = ""

    @property
    def said(self) -> str | None:
        """The task for another time: None where only missing labels or a choice of outputs made
        it none."""
        return None if self.unscored and self.task.name == "none" else self.task.name


def decide(targets: Tensor | None, graph: Graph, *, asked: str | None = None) -> Decision:
    """The task of `graph` on data with `targets` (N, ...), None for none; `asked` is what the user
    said.

    Raises ConfigError where the targets leave a choice, and where outputs or targets are not of
    the task that was asked for; LoadError for class numbers that the network does not have.
    """
    outputs = {name: tuple(graph.shapes[name]) for name in graph.outputs}
    task = None if asked is None else TASKS.create(asked)
    if task is not None and task.name == "none":
        return Decision(task, "as --task none says")
    if len(outputs) > 1:
        return _several(outputs, targets, asked)
    (shape,) = outputs.values()
    if task is None:
        if targets is None:
            return Decision(TASKS.create("none"), UNLABELLED)
        if (task := _told_by(targets, shape)) is None:
            text = f"targets ({described(targets)}) do not go with outputs of shape {shape}"
            return Decision(TASKS.create("none"), text)
    wrong = task.misfit(targets, shape)
    if wrong and targets is not None and task.natural(targets, shape):
        hint = "use the data the network was trained on, with labels that count from 0"
        raise LoadError(wrong, hint=hint)
    if wrong:
        raise ConfigError(f"--task {asked}: {wrong}", hint="say another --task, or none")
    return Decision(task.settled(graph), "" if targets is not None else UNLABELLED)


def _several(outputs: Mapping[str, Shape], targets: Tensor | None, asked: str | None) -> Decision:
    """Of several outputs none is scored until one is chosen."""
    named = ", ".join(f"{name} {shape}" for name, shape in outputs.items())
    text = f"the network has {len(outputs)} outputs: {named}"
    if asked is not None:
        raise ConfigError(f"--task {asked}: {text}", hint=CHOOSE)
    unscored = UNLABELLED if targets is None else f"{text}; {CHOOSE}"
    return Decision(TASKS.create("none"), unscored)


CHOOSE = "choose the one to be scored with --answer NAME"


def _told_by(targets: Tensor, shape: Shape) -> Task | None:
    """The task that these targets are made for; None where they suit none."""
    known = {name: TASKS.create(name) for name in TASKS.names() if name != "none"}
    natural = [task for task in known.values() if task.natural(targets, shape)]
    if len(natural) == 1:
        return natural[0]
    possible = [name for name, task in known.items() if not task.misfit(targets, shape)]
    if not possible:
        return None
    raise ConfigError(
        f"targets ({described(targets)}) for outputs of shape {shape} may be meant for "
        f"{' or '.join(possible)}",
        hint=f"say which with --task {possible[0]}, or run without scores with --task none",
    )
