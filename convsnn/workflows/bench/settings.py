"""What a benchmark measures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from convsnn.errors import ConfigError
from convsnn.simulate import PRECISIONS, fastest
from convsnn.spiking.schedule import Schedule
from convsnn.workflows.bench.peers import PEERS
from convsnn.workflows.bench.peers.installed import installed
from convsnn.workflows.bench.subject import MaxPool
from convsnn.workflows.running.device import pick_device


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to measure, all as the options of `convsnn bench`; ConfigError for what cannot be.

    `peers` are the packages to compare with, by default those that are installed. `weights`,
    `input_shape` and `answer` (the output to take of several) are those of one model; `threads`
    None are as many as torch takes.
    """

    peers: tuple[str, ...] = field(default_factory=lambda: installed(list(PEERS), asked=False))
    timesteps: tuple[int, ...] = (64,)
    batch_sizes: tuple[int, ...] = (64,)
    precisions: tuple[str, ...] = PRECISIONS
    repeats: int = 5
    device: torch.device = field(default_factory=lambda: pick_device("auto"))
    threads: int | None = None
    minutes: float | None = None
    max_pool: MaxPool = "current"
    schedule: Schedule = "steps"
    weights: str | Path | None = None
    input_shape: Sequence[int] | None = None
    answer: str | None = None
    seed: int = 0
    peak: bool = True
    memory: bool = False
    stages: bool = False
    neurons: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.minutes is not None and not 0 < self.minutes < float("inf"):
            raise ConfigError(f"--minutes is a positive number, not {self.minutes}")

    @property
    def extra(self) -> tuple[str, ...]:
        """The precisions of what is measured in a few only: the reference and the fastest."""
        quick = fastest(self.device)
        found = tuple(p for p in self.precisions if p in ("float32", quick))
        return found or self.precisions[:1]


def choose_precisions(text: str, device: torch.device) -> tuple[str, ...]:
    """`all`, `auto` or names joined by commas; ConfigError for one that is not known."""
    if text == "all":
        return PRECISIONS
    if text == "auto":
        return (fastest(device),)
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if name not in PRECISIONS:
            raise ConfigError(
                f"--precision {name or text} is not known",
                hint=f"choose all, auto or some of {', '.join(PRECISIONS)}",
            )
    return names
