"""What a training run is asked for, where it stands, and the order of its samples.

The order is drawn from the seed and the epoch alone, so that a run that is gone on with sees what
it would have seen.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from convsnn.errors import ConfigError
from convsnn.random import uniform
from convsnn.train.schedule import COSINE, check

WARM = 20  # updates over which the learning rate rises
_ORDER, _CHANGES = -2, -3  # what random numbers are for; sites of a network count up from 0


@dataclass(frozen=True)
class Settings:
    """How a network is trained.

    `learning_rate` rises over the first updates and falls by the `schedule`, "cosine" or
    "steps:1/0.1/..." (see the file of that name). `minutes` ends training early: the schedule is
    then fitted to what time allows (such a run is not repeated to the last digit, since machines
    differ in speed). `held_out` is the part of the samples that is kept from training and scored
    after every epoch; with `patience`, training stops when that score has not risen for as many
    epochs, and the best network counts instead of the last. With an `average`, what is scored and
    what is left in the end is a running mean of the weights (see `averaging`).
    """

    steps: int = 4
    epochs: int = 10
    batch_size: int = 50
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    schedule: str = COSINE
    weight_decay: float = 0.0
    clip: float | None = None
    average: float = 0.0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    held_out: float = 0.0
    patience: int | None = None
    minutes: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        positive = {
            "steps": self.steps,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "minutes": 1 if self.minutes is None else self.minutes,
            "patience": 1 if self.patience is None else self.patience,
            "clip": 1 if self.clip is None else self.clip,
        }
        for name, value in positive.items():
            if not 0 < value < math.inf:
                raise ConfigError(f"training needs a positive {name}, not {value}")
        check(self.schedule)
        if not 0 <= self.held_out < 1 or not 0 <= self.weight_decay < math.inf:
            raise ConfigError("held_out lies between 0 and 1, and weight_decay is at least 0")
        if not 0 <= self.average < 1:
            raise ConfigError(f"average is at least 0 and below 1, not {self.average}")
        if self.patience is not None and not self.held_out:
            raise ConfigError("patience needs a part of the samples held out (held_out)")


@dataclass(frozen=True)
class Epoch:
    """How an epoch went: means over its updates; `held_out` is the accuracy on what is held out.

    `seconds` counts from the start of training, earlier runs of a resumed one included. By layer,
    in the last update: mean thresholds, firing rates, the share of neurons that sent no spike to
    any sample (`dead`), and to one of them (`silent`, a mean). `moved` is how far each layer's
    weights are from where they started, as a part of their size there, and `settled`, which is
    known when training is over, how far from where they ended (see the file of that name).
    """

    number: int
    loss: float
    accuracy: float
    held_out: float | None
    learning_rate: float
    seconds: float
    thresholds: Mapping[str, float]
    rates: Mapping[str, float]
    dead: Mapping[str, float] = field(default_factory=dict)
    silent: Mapping[str, float] = field(default_factory=dict)
    moved: Mapping[str, float] = field(default_factory=dict)
    settled: Mapping[str, float] = field(default_factory=dict)


@dataclass
class State:
    """Where a run stands; everything else is in the network and the optimizer."""

    epoch: int = 0
    update: int = 0  # of this epoch
    done: int = 0  # of all
    progress: float = 0.0  # along the schedule, 0 to 1
    seconds: float = 0.0
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])  # loss, right, seen
    history: list[dict[str, Any]] = field(default_factory=list)
    best: float = -1.0
    best_epoch: int = 0

    def epochs(self) -> list[Epoch]:
        """The finished epochs."""
        return [Epoch(**entry) for entry in self.history]


def split(count: int, part: float, *, seed: int) -> tuple[list[int], list[int]]:
    """Numbers of the samples held out and of those to train on, both in random order.

    ConfigError where nothing would be left of one of them.
    """
    order = permutation(range(count), seed=seed, epoch=-1)
    held = round(part * count)
    if part and not 0 < held < count:
        raise ConfigError(f"{count} samples cannot be split by holding out {part:g} of them")
    return order[:held], order[held:]


def permutation(numbers: Sequence[int], *, seed: int, epoch: int) -> list[int]:
    """`numbers` in the order of an epoch."""
    keys = uniform(seed, torch.arange(len(numbers)), _ORDER, range(epoch + 1, epoch + 2), ())[0]
    return [numbers[int(i)] for i in keys.argsort(stable=True)]


def changes(seed: int, update: int) -> torch.Generator:
    """The random numbers by which the samples of an update are changed."""
    key = uniform(seed, torch.tensor([update]), _CHANGES, range(1), ())[0, 0]
    return torch.Generator().manual_seed(int(key * 2**53))
