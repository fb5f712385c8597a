"""Scores networks with quantised values, each an answer of its own, on the same images."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from convsnn.measure.evaluate import joint
from convsnn.measure.fitting import Batches, in_pieces
from convsnn.measure.sharing import Share
from convsnn.measure.tasks import Tally, Task
from convsnn.simulate import Engine, Program, simulate
from convsnn.spiking.network import Spiking


@dataclass(frozen=True)
class Quantised:
    """A network that fires layer by layer, run for `levels` steps, its weights of `weight_bits`
    (None: as they are)."""

    net: Spiking
    levels: int
    weight_bits: int | None = None


def score_quantised(
    networks: Mapping[str, Quantised],
    batches: Batches,
    task: Task,
    *,
    device: torch.device | str = "cpu",
    share: Share,
    shrunk: Callable[[int], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, float | None]:
    """The headline score of each network, None where it has no value.

    `batches` give images (B, *input shape) and targets; see `evaluate` for the rest.
    """
    shown, run = 0, {}
    for name, one in networks.items():
        engine = Engine(weight_bits=one.weight_bits)
        run[name] = Program(one.net.to(device=device), engine), one.levels
    shape = _shape(next(iter(networks.values())).net)
    tallies = {name: task.nothing(1, shape) for name in networks}

    def score(x: Tensor, y: Tensor | None) -> tuple[dict[str, Tally], int]:
        assert y is not None  # whoever has no targets has no scores
        found = {}
        for name, (program, steps) in run.items():
            given = x.to(device)
            outputs = joint(simulate(program, given, steps=steps, at=(steps,), count=False).outputs)
            found[name] = task.tally(outputs, task.decided(outputs), y.to(outputs.device))
        return found, len(x)

    for found, images in in_pieces(batches, score, shrunk=shrunk):
        tallies = {name: task.added(tally, found[name]) for name, tally in tallies.items()}
        shown += images
        if progress is not None:
            progress(shown)
    summed = {name: task.of_all(tally, share) for name, tally in tallies.items()}
    return {name: _headline(task, tally) for name, tally in summed.items()}


def _shape(net: Spiking) -> tuple[int, ...]:
    return tuple(net.graph.shapes[net.graph.outputs[0]])


def _headline(task: Task, tally: Tally) -> float | None:
    scores = {score.name: value for score, value in task.scores(tally)}
    value = float(scores[task.headline][0]) if task.headline in scores else float("nan")
    return value if value == value else None
