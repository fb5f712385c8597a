"""What a task is: which targets it takes, what is decided by outputs, and which scores count.

Outputs are (T, B, *shape), the answer after each of T time steps for B samples; the original
network is scored by the same code as a run of one step. Scores are made from sums over samples (a
tally), so that batches and processes can be added up; what cannot be summed is put in rows.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from convsnn.graph import Graph
from convsnn.measure.sharing import Share
from convsnn.registry import Registry

Shape: TypeAlias = tuple[int, ...]
Tally: TypeAlias = Mapping[str, Tensor]  # sums over samples, the first axis being the time steps


@dataclass(frozen=True)
class Score:
    """A number that a task is judged by: `name` in report.json, `label` for people.

    A fraction is shown in percent, a number as it is. `group` names what a score is one of many
    of, like the F1 of one label; a table has no column for each of these.
    """

    name: str
    label: str
    unit: Literal["fraction", "number"] = "fraction"
    higher: bool = True
    group: str = ""


@dataclass(frozen=True)
class Task(ABC):
    """One task. `headline` names the score that stands first and that `--max-drop` bounds: it may
    fall by so many hundredths (points). It is "" where nothing is scored."""

    name: ClassVar[str]
    headline: ClassVar[str]
    agreement_kind: ClassVar[str]

    @abstractmethod
    def natural(self, targets: Tensor, shape: Shape) -> bool:
        """Whether `targets` (N, ...) for outputs of `shape` can hardly be for another task."""

    @abstractmethod
    def misfit(self, targets: Tensor | None, shape: Shape) -> str:
        """Why outputs of `shape`, or these targets for them, are not of this task; "" if they are.

        Without targets only the outputs are judged.
        """

    def settled(self, graph: Graph) -> "Task":
        """The same task with what only the network can tell."""
        del graph
        return self

    def decided(self, outputs: Tensor) -> Tensor | None:
        """What is decided by outputs (T, B, *shape), as whole numbers (T, B, ...); None for outputs
        that are themselves the answer."""
        del outputs
        return None

    @abstractmethod
    def agreement(self, got: Tensor, wanted: Tensor) -> Tensor:
        """How much two answers are alike, (T, B) within 0 and 1.

        They are what is decided, (T, B, ...) and (1, B, ...), or outputs where nothing is.
        """

    @abstractmethod
    def tally(self, outputs: Tensor, decided: Tensor | None, targets: Tensor) -> Tally:
        """The sums over one batch; targets are (B, ...)."""

    @abstractmethod
    def nothing(self, steps: int, shape: Shape) -> Tally:
        """The sums over no samples at all."""

    def added(self, one: Tally, other: Tally) -> Tally:
        """The tally of the samples of both."""
        return {name: one[name] + other[name] for name in one}

    def of_all(self, tally: Tally, share: Share) -> Tally:
        """The tally of the samples of all processes."""
        return {name: share.add(value) for name, value in tally.items()}

    @abstractmethod
    def scores(self, tally: Tally) -> list[tuple[Score, Tensor]]:
        """Every score at every step, (T,) of float64; NaN where it has no value."""

    @abstractmethod
    def doubt(self, tally: Tally) -> str:
        """In what the original, whose `tally` this is, is no better than guessing; "" if it is."""


TASKS: Registry[Task] = Registry("task")


def described(targets: Tensor) -> str:
    """Targets in words: int64, one number a sample; float32 of shape (6,)."""
    kind = str(targets.dtype).removeprefix("torch.")
    shape = tuple(targets.shape[1:])
    return f"{kind}, one number a sample" if shape == () else f"{kind} of shape {shape}"


def whole(targets: Tensor) -> bool:
    """Whether targets are stored as whole numbers."""
    return not targets.is_floating_point()


def zeros_and_ones(targets: Tensor) -> bool:
    """Whether all values are 0 or 1."""
    return bool(((targets == 0) | (targets == 1)).all())


def one_hot(targets: Tensor) -> bool:
    """Whether every sample has a single 1 among zeros."""
    return targets.dim() == 2 and zeros_and_ones(targets) and bool((targets.sum(1) == 1).all())


def close(got: Tensor, wanted: Tensor) -> Tensor:
    """1 - |got - wanted| / |wanted| (L2 norms), within [0, 1], per step and sample (T, B)."""
    flat = (max(len(got), len(wanted)), got.shape[1], -1)
    gap = ((got - wanted) ** 2).reshape(*flat).sum(2)
    size = (wanted**2).reshape(len(wanted), got.shape[1], -1).sum(2)
    ratio = torch.sqrt(gap.double() / size.double().clamp(1e-30))
    return (1 - ratio).clamp(0, 1)
