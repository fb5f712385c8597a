"""LT-SNN: a free threshold with a separate gradient path (SGP).

With d the distance to the threshold, f' the surrogate and p the gradient penalty window, a spike's
gradient goes to -m (see `thresholds`) through

    sgp               [s = 1] f'(d) p(d)         equation 11, the default
    sgp_noindicator   f'(d) p(d)                 the same as equation 9 has it
    stsg              f'(d)                      equation 6, straight through
    gpw_all           f'(d) p(d), also to u      Table 2, "GPW for all"
    repo_sum          f'(d) (1 + [s = 1] p(d))   what the paths of the authors' code sum up to
"""

import math
from typing import Literal

from torch import Tensor, nn

from convsnn.train.surrogates import Surrogate
from convsnn.train.thresholds import THRESHOLDS, Threshold, constant

Mode = Literal["sgp", "sgp_noindicator", "stsg", "gpw_all", "repo_sum"]
Penalty = Literal["sigmoid", "arctan", "triangle", "piecewise"]


def penalty_window(distance: Tensor, kind: Penalty) -> Tensor:
    """The gradient penalty window p(d) of LT-SNN (equation 10) and of its Table 11.

    The paper gives the sigmoid only; the other three are this project's reading of their names.
    """
    if kind == "sigmoid":
        return distance.sigmoid()
    if kind == "arctan":
        return 1 / (1 + (math.pi * distance).square())
    if kind == "triangle":
        return (1 - distance.abs()).clamp(min=0)
    return (0.5 + 0.5 * distance).clamp(0, 1)


@THRESHOLDS.register("lt-snn")
class LtSnn(Threshold):
    """LT-SNN: a free threshold that learns through a gradient path of its own (SGP).

    By the paper that path is all the gradient V gets; `whole=true` adds that of the amounts
    subtracted and sent, which matters where spikes carry the threshold's size.
    """

    def __init__(
        self,
        initial: float = 1.0,
        *,
        mode: Mode = "sgp",
        gpw: Penalty = "sigmoid",
        unit: Tensor | float | None = None,
        shape: tuple[int, ...] = (),
        whole: bool = False,
        floor: float | None = None,
    ) -> None:
        super().__init__(unit=unit, whole=whole, floor=floor)
        self.m = nn.Parameter(constant(initial, shape))
        self.mode: Mode = mode
        self.gpw: Penalty = gpw

    def number(self) -> Tensor:
        """See `Threshold.number`."""
        return self.m

    def windows(
        self, distance: Tensor, fired: Tensor, surrogate: Surrogate
    ) -> tuple[Tensor, Tensor]:
        """See `Threshold.windows`."""
        slope = surrogate.derivative(distance)
        if self.mode == "stsg":
            return slope, slope
        penalised = slope * penalty_window(distance, self.gpw)
        if self.mode == "gpw_all":
            return penalised, penalised
        if self.mode == "sgp_noindicator":
            return slope, penalised
        return slope, penalised * fired + (slope if self.mode == "repo_sum" else 0)
