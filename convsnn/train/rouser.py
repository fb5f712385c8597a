"""Rouser: a free threshold for every neuron, learned in the loop (equations 5, 8 and 10).

    dS/dTh = - f'(V - Th)        with the same surrogate f' as dS/dV (equation 4)

The threshold's other place, in the reset of equation 2, counts only with `whole`: by equation 8 it
does not. Nothing bounds a threshold; one below zero lets a neuron at rest fire.
"""

from torch import Tensor, nn

from convsnn.train.thresholds import THRESHOLDS, Threshold, constant


@THRESHOLDS.register("rouser")
class Rouser(Threshold):
    """Rouser: a free threshold that gets a spike's gradient with the other sign."""

    def __init__(
        self,
        initial: float = 1.25,
        *,
        unit: Tensor | float | None = None,
        shape: tuple[int, ...] = (),
        whole: bool = False,
        floor: float | None = None,
    ) -> None:
        super().__init__(unit=unit, whole=whole, floor=floor)
        self.m = nn.Parameter(constant(initial, shape))

    def number(self) -> Tensor:
        """See `Threshold.number`."""
        return self.m
