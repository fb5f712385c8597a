"""Threshold annealing: a threshold that rises from update to update ("The fine line between dead
neurons and sparsity in binarized spiking neural networks", equations 3, 4 and 8).

    theta(g+1) = theta(g) + rate (end - theta(g))      after every update of the weights
    theta(g)   = end - (end - start) (1 - rate)^g

Nothing of it learns. The surrogate stays where the threshold started ("start", equation 8), so that
neurons far below a risen threshold still learn, or moves with it ("threshold", the authors' code).
"""

from typing import Literal

import torch
from torch import Tensor, nn

from convsnn.train.surrogates import Surrogate
from convsnn.train.thresholds import THRESHOLDS, Threshold, constant


@THRESHOLDS.register("anneal")
class Annealed(Threshold):
    """Threshold annealing: rises from `start` to `end`, by `rate` of the way left an update.

    `center` is where the surrogate has its middle. Networks are scored with the threshold that was
    reached ("current") or with the one it was on its way to ("end").
    """

    m: Tensor

    def __init__(
        self,
        start: float = 5.0,
        end: float = 50.0,
        *,
        rate: float = 5e-3,
        center: Literal["start", "threshold"] = "start",
        score: Literal["current", "end"] = "current",
        unit: Tensor | float | None = None,
        shape: tuple[int, ...] = (),
    ) -> None:
        super().__init__(unit=unit, whole=False)
        if not 0 <= rate <= 1:
            raise ValueError(f"rate lies between 0 and 1, not {rate}")
        if not 0 < start < float("inf") or not 0 < end < float("inf"):
            raise ValueError(f"start and end are positive and finite, not {start} and {end}")
        self.register_buffer("m", constant(start, shape))
        # `start` is the potential at rest
        self.first, self.end, self.rate = start, end, rate
        self.center, self.score = center, score

    def number(self) -> Tensor:
        """See `Threshold.number`."""
        if self.score == "end" and not self.training:
            return torch.full_like(self.m, self.end)
        return self.m

    def windows(
        self, distance: Tensor, fired: Tensor, surrogate: Surrogate
    ) -> tuple[Tensor, Tensor]:
        """See `Threshold.windows`."""
        del fired
        moved = (self.number() - self.first).mean() if self.center == "start" else 0.0
        slope = surrogate.derivative(distance + moved)
        return slope, slope

    @torch.no_grad()
    def advance(self) -> None:
        """See `Threshold.advance`."""
        self.m += self.rate * (self.end - self.m)


def advance(network: nn.Module) -> None:
    """Let all thresholds of `network` know that an update is done."""
    for module in network.modules():
        if isinstance(module, Threshold):
            module.advance()
