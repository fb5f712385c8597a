"""Nothing that could be scored: outputs are compared with the original's, and that is all."""

from dataclasses import dataclass

from torch import Tensor

from convsnn.measure.tasks.base import TASKS, Score, Shape, Tally, Task, close


@TASKS.register("none")
@dataclass(frozen=True)
class Unscored(Task):
    """No score, only how close the outputs are to the original's (1 minus relative distance)."""

    name = "none"
    headline = ""
    agreement_kind = "closeness"

    def natural(self, targets: Tensor, shape: Shape) -> bool:
        """See `Task`."""
        del targets, shape
        return False

    def misfit(self, targets: Tensor | None, shape: Shape) -> str:
        """See `Task`."""
        del targets, shape
        return ""

    def agreement(self, got: Tensor, wanted: Tensor) -> Tensor:
        """See `Task`."""
        return close(got, wanted)

    def tally(self, outputs: Tensor, decided: Tensor | None, targets: Tensor) -> Tally:
        """See `Task`."""
        del outputs, decided, targets
        return {}

    def nothing(self, steps: int, shape: Shape) -> Tally:
        """See `Task`."""
        del steps, shape
        return {}

    def scores(self, tally: Tally) -> list[tuple[Score, Tensor]]:
        """See `Task`."""
        del tally
        return []

    def doubt(self, tally: Tally) -> str:
        """See `Task`."""
        del tally
        return ""
