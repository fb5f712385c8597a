"""What training makes small, given the outputs of every time step.

    mean-ce    CE(mean over t of O(t), y)
    tet        beta mean_t CE(O(t), y) + (1 - beta) mean_t MSE(O(t), Omega)
    twin-ce    (CE(P, y) + CE(Q, y)) / 2 + gamma (KL(P || Q) + KL(Q || P))

O(t) are logits. `tet` is LT-SNN equation 12 (after Deng et al. 2022); Omega is a number or the mean
of the network's thresholds (equation 13), as a constant. `twin-ce` is LTMD equations 11 and 12 for
two runs of the same images with different dropout, P and Q their mean logits (see `dropout`).
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from convsnn.errors import ConfigError
from convsnn.registry import Registry


class Loss(Protocol):
    """A loss of logits (T, B, K) for labels (B,).

    `thresholds` are those in force, by layer, for losses that look at them.
    """

    def __call__(
        self, logits: Tensor, labels: Tensor, *, thresholds: tuple[Tensor, ...] = ()
    ) -> Tensor:
        """The loss, a mean over the batch."""
        ...


LOSSES: Registry[Loss] = Registry("loss")


@LOSSES.register("mean-ce")
@dataclass(frozen=True)
class MeanCrossEntropy:
    """Cross-entropy of the logits' mean over time."""

    def __call__(
        self, logits: Tensor, labels: Tensor, *, thresholds: tuple[Tensor, ...] = ()
    ) -> Tensor:
        """See `Loss`."""
        del thresholds
        return functional.cross_entropy(logits.mean(0), labels)


@LOSSES.register("tet")
@dataclass(frozen=True)
class Tet:
    """Cross-entropy at every step, and logits drawn towards the mean threshold.

    The default weight is LT-SNN's, read as its equation 12 has it; the authors' code, like that
    of TET, puts 0.45 on the second part: beta=0.55.
    """

    beta: float = 0.45
    target: float | Literal["mean-threshold"] = "mean-threshold"

    def __post_init__(self) -> None:
        if not 0 <= self.beta <= 1:
            raise ValueError(f"beta lies between 0 and 1, not {self.beta}")

    def __call__(
        self, logits: Tensor, labels: Tensor, *, thresholds: tuple[Tensor, ...] = ()
    ) -> Tensor:
        """See `Loss`; ConfigError where the mean threshold is asked for and there is none."""
        every = functional.cross_entropy(logits.flatten(0, 1), labels.repeat(len(logits)))
        if self.beta == 1:
            return every
        named = self.target == "mean-threshold"
        omega = mean_threshold(thresholds) if named else float(self.target)
        return self.beta * every + (1 - self.beta) * (logits - omega).square().mean()


def mean_threshold(thresholds: tuple[Tensor, ...]) -> Tensor:
    """The mean threshold of all layers, as a constant; ConfigError where there is none."""
    if not thresholds:
        raise ConfigError(
            "the loss has no thresholds to take the mean of", hint="use tet:target=1, or beta=1"
        )
    return torch.stack([value.detach().mean() for value in thresholds]).mean()


@LOSSES.register("twin-ce")
@dataclass(frozen=True)
class TwinCrossEntropy:
    """Cross-entropy of two runs with different dropout, and how far they are apart.

    The logits hold the first run's samples and then the second's, (T, 2B, K), for B labels.
    `kl=repo` takes the divergence as the authors' code does: a mean over classes too, halved.
    A single run, as in evaluation, costs its cross-entropy.
    """

    gamma: float = 0.5
    kl: Literal["paper", "repo"] = "paper"

    def __post_init__(self) -> None:
        if not self.gamma >= 0:
            raise ValueError(f"gamma must be at least 0, not {self.gamma}")

    def __call__(
        self, logits: Tensor, labels: Tensor, *, thresholds: tuple[Tensor, ...] = ()
    ) -> Tensor:
        """See `Loss`."""
        del thresholds
        mean = logits.mean(0)
        if len(mean) == len(labels):
            return functional.cross_entropy(mean, labels)
        if len(mean) != 2 * len(labels):
            raise ConfigError(
                f"{len(labels)} labels do not fit {len(mean)} answers of two runs",
                hint="double the batch with Twin in training, and nowhere else",
            )
        fit = functional.cross_entropy(mean, labels.repeat(2))
        return fit + self.gamma * self._divergence(*mean.log_softmax(1).chunk(2))

    def _divergence(self, p: Tensor, q: Tensor) -> Tensor:
        """KL(P || Q) + KL(Q || P) of log-probabilities (B, K), a mean over the batch."""
        both = ((p.exp() - q.exp()) * (p - q)).sum(1).mean()
        return both / (2 * p.shape[1]) if self.kl == "repo" else both
