"""The thresholds at which spikes of several sizes code normally distributed values best.

    q(x)    the nearest to x / threshold of 0 and +-1, 1/2, 1/4 ... (`convsnn.neurons.levels`)
    threshold  <-  threshold * k      k = E[x q(x)] / (threshold E[q(x)^2])

over the normal distribution of a channel's mean and variance. One step is the least-squares factor
for the sizes that were sent, and nearest sizes are the least error for a threshold, so that the
error falls at every step (Lloyd's argument). As sizes halve there are several such points: it is
started from a row of thresholds, and the point of least error is taken.

DCGS (arXiv 2503.00301) sets thresholds by a fixed point of this form, from the same four things:
mean, variance, threshold and sizes. That k is this least-squares factor, the row of starts and the
choice among the points are ours; what the authors' code computes for k is not known here.
"""

import math

import torch
from torch import Tensor

ROUNDS = 200
STARTS = 24  # thresholds it is started from, up to the farthest
FARTHEST = 6.0  # standard deviations from zero, on top of the mean
_CLOSE = 1e-10


def fixed_points(mean: Tensor, variance: Tensor, n: int) -> Tensor:
    """The thresholds, (C,) in float64, for channels of that `mean` and `variance` (C,) and `n`
    sizes; next to nothing for a channel that is zero."""
    mean, deviation = mean.double(), variance.double().clamp(min=0).sqrt()
    reach = mean.abs() + FARTHEST * deviation
    deviation = torch.maximum(deviation, 1e-9 * reach).clamp(min=torch.finfo(torch.float64).tiny)
    starts = torch.arange(1, STARTS + 1, dtype=torch.float64, device=mean.device) / STARTS
    threshold = torch.cat([starts[:, None] * reach, mean.abs()[None]])
    threshold = threshold.clamp(min=torch.finfo(torch.float64).tiny)
    for _ in range(ROUNDS):
        product, square = _moments(mean, deviation, threshold, n)
        after = torch.where(square > 0, product / square, threshold)
        moved = (after - threshold).abs().amax()
        threshold = after
        if bool(moved <= _CLOSE * reach.max()):
            break
    best = squared_error(mean, deviation, threshold, n).argmin(0, keepdim=True)
    return threshold.gather(0, best)[0]


def squared_error(mean: Tensor, deviation: Tensor, threshold: Tensor, n: int) -> Tensor:
    """E[(x - threshold q(x))^2] of normal x; all broadcast to each other."""
    product, square = _moments(mean, deviation, threshold, n)
    whole = mean**2 + deviation**2
    return whole - 2 * threshold * product + threshold**2 * square


def _moments(mean: Tensor, deviation: Tensor, threshold: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """E[x q(x)] and E[q(x)^2]."""
    sizes = 0.5 ** torch.arange(n, dtype=torch.float64, device=mean.device)
    positive = sizes.flip(0)
    levels = torch.cat([-sizes, torch.zeros_like(sizes[:1]), positive])
    between = (levels[1:] + levels[:-1]) / 2
    edge = torch.full_like(between[:1], math.inf)
    bounds = torch.cat([-edge, between, edge])  # in thresholds
    place = (bounds * threshold[..., None] - mean[..., None]) / deviation[..., None]
    below = torch.special.ndtr(place)
    density = torch.exp(-(place**2) / 2) / math.sqrt(2 * math.pi)
    share = below.diff(dim=-1)
    part = mean[..., None] * share - deviation[..., None] * density.diff(dim=-1)
    return (part * levels).sum(-1), (share * levels**2).sum(-1)
