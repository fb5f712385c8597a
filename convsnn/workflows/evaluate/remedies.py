"""What to try where the original itself is no better than guessing, found by trying it.

Training images are shown to the original under other preprocessing: what is commonly forgotten,
with what networks are commonly trained on. What raises its score is named with the score.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import inf
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from convsnn.errors import ConfigError
from convsnn.graph import Graph, run
from convsnn.measure.tasks import Task
from zoo.data import DataSet, Part, Preprocessing, draw

IMAGES = 200  # enough to tell a score from guessing
CLEARLY = 0.1  # by so much a score has to be better before its option is named
CHECK = "check --weights, --scale, --mean, --std, the order of channels and the labels"

_STATISTICS = {
    "ImageNet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CIFAR-10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "MNIST": ((0.1307,), (0.3081,)),
    "Fashion-MNIST": ((0.2860,), (0.3530,)),
    "images within -1 and 1": ((0.5,), (0.5,)),
}


@runtime_checkable
class Adjustable(Protocol):
    """A split whose samples can be had under other preprocessing."""

    preprocessing: Preprocessing

    def under(self, preprocessing: Preprocessing) -> Part:
        """The same samples under it."""
        ...


def what_helps(
    graph: Graph, data: DataSet, *, task: Task, batch_size: int, device: torch.device
) -> str:
    """The options under which the original is clearly better on training images, or what to check
    where none was found."""
    part = data.train
    if part.targets is None or not isinstance(part, Adjustable) or part.steps is not None:
        return CHECK
    if task.misfit(part.targets, tuple(graph.shapes[graph.outputs[0]])):
        return CHECK
    numbers = draw(part, IMAGES, seed=0)

    def score(other: Part, *, flip: bool = False) -> float:
        return _score(graph.to(device=device), other, numbers, task, batch_size, flip=flip)

    before, best, named = score(part), -inf, ""
    for options, settings in _others(part.preprocessing, graph):
        try:
            found = score(part.under(settings))
        except ConfigError:  # such values do not go with this data
            continue
        if found > best:
            best, named = found, f"with {options} it"
    if (found := score(part, flip=True)) > best:
        best, named = found, "with the channels in the other order (RGB, BGR) it"
    if not best > before + CLEARLY:
        return CHECK
    headline = task.headline
    return f"{named} has {headline} {best:.3f} on {len(numbers)} training images; try that"


def _others(known: Preprocessing, graph: Graph) -> Iterator[tuple[str, Preprocessing]]:
    """Other settings, each with the options that name them."""
    for scale in (255.0, 1.0):
        if scale != known.scale:
            yield f"--scale {scale:g}", replace(known, scale=scale)
    if known.mean or known.std:
        plain = replace(known, mean=(), std=())
        yield "--mean 0 --std 1 (as they are)", plain
    channels = {size for size in graph.input.attrs["shape"] if size in (1, 3)}
    for mean, std in _STATISTICS.values():
        if len(mean) == 1 or len(mean) in channels:
            text = f"--mean {_listed(mean)} --std {_listed(std)}"
            yield text, replace(known, mean=mean, std=std)
            if known.scale != 255:
                scaled = replace(known, mean=mean, std=std, scale=255.0)
                yield f"--scale 255 {text}", scaled


def _listed(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:g}" for value in values)


def _score(
    graph: Graph, part: Part, numbers: list[int], task: Task, batch_size: int, *, flip: bool
) -> float:
    """The headline of the original on these samples."""
    name = graph.outputs[0]
    tally = task.nothing(1, tuple(graph.shapes[name]))
    device = next(iter(graph.tensors.values())).device
    for x, y in part.batches(batch_size, indices=numbers):
        assert y is not None
        with torch.no_grad():
            outputs = run(graph, _flipped(x.to(device)) if flip else x.to(device))[name][None]
        tally = task.added(tally, task.tally(outputs, task.decided(outputs), y.to(device)))
    return float(task.scores(tally)[0][1][0])


def _flipped(x: Tensor) -> Tensor:
    """The channels of images in the other order."""
    axes = [axis for axis in (1, x.dim() - 1) if x.dim() > 2 and x.shape[axis] == 3]
    return x.flip(axes[0]) if axes else x
