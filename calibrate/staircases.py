"""The staircase that a neuron makes of a constant current, and the one that fits a histogram best.

q(a) = V/T * clip(floor(a T / V + p), 0, T)
"""

import torch
from torch import Tensor

from calibrate.statistics import Histogram

BINS = 1 << 11
ENOUGH = 1 << 12  # values of a channel in each batch, where a pass over the images counts


def staircase(values: Tensor, threshold: Tensor, steps: int, potential: float) -> Tensor:
    """Mean output of a soft-reset neuron under the constant current `values` over `steps`."""
    levels = (values * steps / threshold).add_(potential).floor_().clamp_(0, steps)
    return levels.mul_(threshold).div_(steps)


def best_thresholds(found: Histogram, steps: int, potential: float, grid: int) -> Tensor:
    """The threshold of least squared error of each row of the histogram, (R,)."""
    # the middle of each bin stands for its values
    centres = found.values - found.top.double()[:, None] / found.counts.shape[1] / 2
    counts = found.counts.double()
    best = torch.full_like(found.top.double(), float("inf"))
    chosen = found.top.double()
    for index in range(grid, 0, -1):  # from the largest, so that ties clip less
        threshold = (found.top.double() * index / grid).clamp(min=torch.finfo(torch.float32).tiny)
        error = staircase(centres, threshold[:, None], steps, potential).sub_(centres).square_()
        total = error.mul_(counts).sum(1)
        chosen = torch.where(total < best, threshold, chosen)
        best = torch.minimum(total, best)
    return chosen
