"""The network that a benchmark runs: read, and calibrated on random images."""

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from calibrate import parse_stages
from convsnn.errors import ConfigError
from convsnn.graph import Graph, run
from convsnn.load.verify import verify_import
from convsnn.spiking.network import Spiking
from convsnn.workflows.bench.peers.layers import as_module
from convsnn.workflows.convert.network import convert
from convsnn.workflows.subject.source import Source, source_of

CALIBRATION = 64  # random images
CALIBRATE = "percentile:q=99.9"  # one threshold a layer, from rest: what every peer can run
MaxPool = Literal["current", "exact"]


@dataclass(frozen=True)
class Subject:
    """A network in its two forms: `ann` as the user has it, in float32, and `net`, converted.

    `seconds` are those of reading, verifying and calibrating. `trained` is False where the weights
    are random and batch norm took its statistics from random images.
    """

    name: str
    ann: nn.Module
    net: Spiking
    shape: tuple[int, ...]
    trained: bool
    seconds: dict[str, float] = field(default_factory=dict)

    def images(self, batch: int, device: torch.device, *, seed: int) -> Tensor:
        """Random images (batch, *shape); the same for equal seeds."""
        return random_images(self.shape, batch, seed=seed).to(device)


class Network(nn.Module):
    """A graph as a module, for what has no layer of torch's own."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, x: Tensor) -> Tensor:
        """(B, *input shape) -> the only output."""
        return run(self.graph, x)[self.graph.outputs[0]]


def random_images(shape: tuple[int, ...], count: int, *, seed: int) -> Tensor:
    """Standard normal values (count, *shape)."""
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def open_subject(
    model: nn.Module | str | Path,
    *,
    weights: Path | None,
    input_shape: tuple[int, ...] | None,
    steps: int,
    seed: int,
    device: torch.device,
    answer: str | None = None,
    max_pool: MaxPool = "current",
    schedule: str = "steps",
) -> Subject:
    """Read and convert `model`; see `source_of` and `convert` for what is raised.

    A module given in Python is measured in a copy: its own mode and device stay as they are.
    """
    torch.manual_seed(seed)  # weights that nobody trained are drawn anew
    model = deepcopy(model) if isinstance(model, nn.Module) else model
    source = source_of(model, weights=weights, input_shape=input_shape, answer=answer)
    shape = source.input_shape
    if shape is None:
        raise ConfigError(
            f"'{source.text}' does not say its input shape", hint="give --input-shape"
        )
    images = random_images(shape, CALIBRATION, seed=seed + 1)
    if source.module is not None and not source.trained:
        set_statistics(source.module, images)
    pools: MaxPool = "exact" if schedule == "layers" else max_pool
    return _converted(
        source, images, steps=steps, seed=seed, device=device, max_pool=pools, schedule=schedule
    )


def _converted(
    source: Source,
    images: Tensor,
    *,
    steps: int,
    seed: int,
    device: torch.device,
    max_pool: MaxPool,
    schedule: str,
) -> Subject:
    clock, seconds = _stopwatch(), {}
    graph = source.graph(images[:4])
    graph.require_convertible()
    seconds["import"] = clock()
    verify_import(graph, source.reference(), images[:4])
    seconds["verify"] = clock()
    net = convert(
        graph.to(device=device),
        images[:4].to(device),
        [images.to(device)],
        parse_stages(CALIBRATE),
        steps=steps,
        max_pool=max_pool,
        schedule=schedule,
        seed=seed,
    )
    seconds["calibration"] = clock()
    ann = source.module if source.answer is None else None  # it has all outputs, one is run
    if ann is None:
        ann = Network(graph.to(device=device)) if graph.smooth else as_module(graph)
    return Subject(
        source.name, ann.to(device).eval(), net, tuple(images.shape[1:]), source.trained, seconds
    )


def set_statistics(module: nn.Module, images: Tensor) -> None:
    """Let every batch norm of `module` take the statistics of `images`, layer by layer."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.train().momentum = None  # the mean of what it sees
    with torch.no_grad():
        module(images)
    for norm, momentum in zip(norms, kept, strict=True):
        norm.eval().momentum = momentum


def _stopwatch() -> Callable[[], float]:
    """Seconds since the last call."""
    last = [time.perf_counter()]

    def lap() -> float:
        last.append(time.perf_counter())
        return last[-1] - last[-2]

    return lap
