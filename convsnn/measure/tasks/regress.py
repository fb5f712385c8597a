"""Numbers for each sample: the outputs themselves are the answer."""

from dataclasses import dataclass

import torch
from torch import Tensor

from convsnn.measure.tasks.base import (
    TASKS,
    Score,
    Shape,
    Tally,
    Task,
    close,
    described,
    whole,
    zeros_and_ones,
)
from convsnn.measure.tasks.sums import combined, summed


@TASKS.register("regress")
@dataclass(frozen=True)
class Regress(Task):
    """Numbers: R2 (mean over the outputs), mean squared and mean absolute error.

    `--max-drop 1` lets R2 fall by 0.01. R2 has no value on fewer than two samples, and leaves out
    outputs whose target never changes.
    """

    name = "regress"
    headline = "r2"
    agreement_kind = "closeness"

    def natural(self, targets: Tensor, shape: Shape) -> bool:
        """See `Task`."""
        fits = not self.misfit(targets, shape)
        return fits and not whole(targets) and not zeros_and_ones(targets)

    def misfit(self, targets: Tensor | None, shape: Shape) -> str:
        """See `Task`."""
        if targets is None:
            return ""
        given = tuple(targets.shape[1:])
        if given == shape or (given in ((), (1,)) and torch.Size(shape).numel() == 1):
            return ""
        return f"targets ({described(targets)}) are not of the outputs' shape {shape}"

    def agreement(self, got: Tensor, wanted: Tensor) -> Tensor:
        """See `Task`."""
        return close(got, wanted)

    def tally(self, outputs: Tensor, decided: Tensor | None, targets: Tensor) -> Tally:
        """See `Task`."""
        del decided
        steps, samples = outputs.shape[:2]
        got = outputs.double().reshape(steps, samples, -1)
        wanted = targets.double().reshape(1, samples, -1).expand_as(got)
        columns = [each.movedim(0, 1).reshape(samples, -1) for each in (got, wanted)]
        r2 = {k: v.reshape(steps, -1) for k, v in summed("R2Score", *columns).items() if v.dim()}
        off = (got - wanted).abs().sum((1, 2)).cpu()
        return {**r2, "absolute": off, "samples": torch.full((steps,), samples)}

    def nothing(self, steps: int, shape: Shape) -> Tally:
        """See `Task`."""
        each = torch.zeros(steps, torch.Size(shape).numel(), dtype=torch.float64)
        names = ("sum_squared_error", "sum_error", "residual")
        sums = dict.fromkeys(names, each)
        return {**sums, "absolute": each.sum(1), "samples": torch.zeros(steps, dtype=torch.int64)}

    def scores(self, tally: Tally) -> list[tuple[Score, Tensor]]:
        """See `Task`."""
        steps, outputs = tally["residual"].shape
        samples = int(tally["samples"][0])
        names = ("sum_squared_error", "sum_error", "residual")
        sums = {name: tally[name].reshape(-1) for name in names}
        mean = tally["sum_error"] / samples
        varied = tally["sum_squared_error"] - tally["sum_error"] * mean > 0
        r2 = torch.full((steps,), torch.nan, dtype=torch.float64)
        if samples > 1 and bool(varied.any()):
            each = combined("R2Score", {**sums, "total": torch.tensor(samples)})
            each = each.reshape(steps, outputs)
            r2 = torch.where(varied, each, 0.0).sum(1) / varied.sum(1)
        squared = combined(
            "MeanSquaredError",
            {"sum_squared_error": sums["residual"], "total": torch.tensor(samples)},
        ).reshape(steps, outputs)
        return [
            (Score("r2", "R2", unit="number"), r2),
            (Score("mse", "MSE", unit="number", higher=False), squared.mean(1)),
            (
                Score("mae", "MAE", unit="number", higher=False),
                tally["absolute"] / (samples * outputs),
            ),
        ]

    def doubt(self, tally: Tally) -> str:
        """See `Task`."""
        value = float(self.scores(tally)[0][1][0])
        if not value <= 0:
            return ""
        return f"has an R2 of {value:.3g}, no better than always giving the mean of the targets"
