"""Moderate dropout: neurons far from firing are dropped more often, LTMD equation 13.

    p_i = p_drop (u_max - u_i) / (u_max - u_mean)

u_i is neuron i's potential, its mean over time; the strongest neuron is never dropped and the mean
of p_i is p_drop. A mask is drawn once per sample and held over time, and what is kept is divided by
its probability. In training every sample runs twice, with two masks, and `losses.TwinCrossEntropy`
draws the two answers together (equations 11 and 12): the part before it needs to run only once.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from convsnn.errors import ConfigError


def drop_probability(
    potentials: Tensor, p_drop: float, *, stats: Literal["sample", "batch"] = "sample"
) -> Tensor:
    """Equation 13 for potentials (B, ...): the probability of dropping each, between 0 and 1.

    The largest and the mean potential are those of each sample, or of the whole batch as in the
    authors' code. Where all potentials are equal every neuron has p_drop. An outlier far below
    the mean would come out above 1; it is held at 1, and the mean is then below p_drop.
    """
    over = tuple(range(1 if stats == "sample" else 0, potentials.dim()))
    top, mean = potentials.amax(over, keepdim=True), potentials.mean(over, keepdim=True)
    flat = top <= mean
    ratio = (top - potentials) / torch.where(flat, 1.0, top - mean)
    return (p_drop * torch.where(flat, 1.0, ratio)).clamp(0, 1)


class ModerateDropout(nn.Module):
    """Between a layer that sends potentials and the next; changes nothing outside training.

    `p_drop` is the mean probability; `detach` keeps the gradient out of the probabilities (the
    authors' code lets it in: `detach=False`, `stats="batch"`). Draws from torch's generator.
    """

    def __init__(
        self,
        p_drop: float = 0.2,
        *,
        stats: Literal["sample", "batch"] = "sample",
        detach: bool = True,
    ) -> None:
        super().__init__()
        if not 0 <= p_drop < 1:
            raise ConfigError(
                f"a dropout probability of {p_drop} cannot be used",
                hint="take one of at least 0 and below 1, such as 0.2",
            )
        self.p_drop, self.detach = p_drop, detach
        self.stats: Literal["sample", "batch"] = stats

    def forward(self, potentials: Tensor) -> Tensor:
        """Mask potentials (T, B, N): the same neurons of a sample at every step."""
        if not self.training or self.p_drop == 0:
            return potentials
        mean = potentials.mean(0)
        if self.detach:
            mean = mean.detach()
        keep = 1 - drop_probability(mean, self.p_drop, stats=self.stats)
        kept = torch.bernoulli(keep.detach())
        return potentials * torch.where(kept > 0, kept / torch.where(kept > 0, keep, 1.0), 0.0)


class Twin(nn.Module):
    """Doubles the batch in training, (T, B, ...) to (T, 2B, ...): the two runs of a sample."""

    def forward(self, x: Tensor) -> Tensor:
        """First all samples of the one run, then all of the other."""
        return torch.cat([x, x], 1) if self.training else x
