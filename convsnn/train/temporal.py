"""The temporal-coding task of threshold annealing (section 4.1): one neuron, one spike, one time.

A pattern of 100 trains, drawn once, is shown for 100 steps. The potential of the only output neuron
is to rise in a line to a tenth above its last threshold at step 75 and to be zero from then on:

    y(t) = 1.1 theta t / 75 up to t = 75, else 0        L = mean over t of (y(t) - u(t))^2

(equation 29, with the mean of the authors' notebook instead of the sum).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convsnn.random import uniform
from convsnn.train.form import Form
from convsnn.train.network import TrainableNetwork
from convsnn.train.samples import Batch
from convsnn.train.settings import Settings

STEPS, INPUTS, SPIKE, ABOVE = 100, 100, 75, 1.1
_SITE = -6  # random numbers that nothing else uses


@dataclass(frozen=True)
class Case:
    """One network of the task: its neurons, and the threshold that they end with."""

    form: Form
    end: float

    def settings(self, *, updates: int, seed: int) -> Settings:
        """As the paper trains it; every update is an epoch of its one pattern."""
        return Settings(
            steps=STEPS, epochs=updates, batch_size=1, optimizer="sgd", learning_rate=1e-3,
            schedule="steps:1", seed=seed,
        )  # fmt: skip


def _case(threshold: str, end: float, *, decay: float = 0.15, bits: int | None = 1) -> Case:
    form = Form(
        threshold=threshold, decay=decay, reset="soft", detach_reset=True, answer="potentials",
        surrogate="fast-sigmoid:slope=5", weight_bits=bits,
    )  # fmt: skip
    return Case(form, end)


_RISE = "anneal:start=5,end=50,rate=0.005"
CASES: dict[str, Case] = {
    "full precision, threshold 1": _case("fixed:value=1", 1.0, decay=0.6, bits=None),
    "binary, threshold 1": _case("fixed:value=1", 1.0),
    "binary, threshold 50": _case("fixed:value=50", 50.0),
    "binary, annealed": _case(_RISE, 50.0),
    "binary, annealed, surrogate moves": _case(f"{_RISE},center=threshold", 50.0),
}


@dataclass(frozen=True)
class Pattern:
    """The one sample; see `Samples`."""

    seed: int

    def __len__(self) -> int:
        return 1

    @property
    def digest(self) -> str:
        """See `Samples`."""
        return f"temporal pattern {self.seed}"

    def trains(self) -> Tensor:
        """Spikes (steps, 1, inputs), each with a probability of its own."""
        draws = [
            uniform(self.seed, torch.tensor([place]), _SITE, range(STEPS), (INPUTS,))
            for place in (0, 1)
        ]
        return (draws[0] < draws[1]).float()

    def batch(self, numbers: Sequence[int], *, generator: torch.Generator | None) -> Batch:
        """See `Samples`."""
        del generator
        return Batch(self.trains(), torch.zeros(len(numbers), dtype=torch.int64))


@dataclass(frozen=True)
class Ramp:
    """What the potential is to do; see `loop.Objective`."""

    end: float

    def target(self) -> Tensor:
        """y(t), (steps,)."""
        time = torch.arange(STEPS)
        return torch.where(time <= SPIKE, ABOVE * self.end * time / SPIKE, 0.0)

    def __call__(self, logits: Tensor, batch: Batch, network: TrainableNetwork) -> Tensor:
        """The loss of potentials (steps, 1, 1)."""
        del batch, network
        return (logits[:, 0, 0] - self.target().to(logits)).square().mean()
