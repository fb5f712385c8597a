"""Scores a spiking network against labels and against the network it came from, at every step."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from convsnn.errors import ConfigError, LoadError
from convsnn.graph import Graph, run
from convsnn.measure.activity import Activity, Watch
from convsnn.measure.fitting import Batches, in_pieces
from convsnn.measure.sharing import Alone, Share, joined
from convsnn.simulate import Engine, Program, simulate
from convsnn.spiking.network import Spiking


@dataclass(frozen=True)
class Evaluation:
    """Scores over a data set, steps first: `accuracy` and `agreement` (T,), fractions; of a network
    that fires layer by layer, in the place of T, for each of `activity.at`.

    Accuracies are None without labels. `predictions` (T, N) and `ann_predictions` (N,) are class
    numbers, None for outputs that are not classes. `seconds` is the time spent simulating, of
    the slowest process where there are several.
    """

    accuracy: Tensor | None
    agreement: Tensor
    ann_accuracy: float | None
    activity: Activity
    seconds: float
    samples: int
    predictions: Tensor | None
    ann_predictions: Tensor | None


def is_classifier(graph: Graph) -> bool:
    """Whether the network has one output, a vector of at least two scores."""
    shape = graph.shapes[graph.outputs[0]]
    return len(graph.outputs) == 1 and len(shape) == 1 and shape[0] > 1


def score_ann(graph: Graph, batches: Batches) -> tuple[float | None, int]:
    """Accuracy of the original network (None without labels) and the number of images."""
    right = seen = labelled = 0
    with torch.no_grad():
        for x, y in batches:
            seen += len(x)
            if y is not None:
                answer = run(graph, x)[graph.outputs[0]].argmax(1)
                right += int((answer == y.to(answer.device)).sum())
                labelled += len(y)
    return (right / labelled if labelled else None), seen


def evaluate(
    net: Spiking,
    batches: Batches,
    *,
    steps: int,
    device: torch.device | str = "cpu",
    engine: Engine | None = None,
    progress: Callable[[int], None] | None = None,
    shrunk: Callable[[int], None] | None = None,
    first: int = 0,
    share: Share | None = None,
) -> Evaluation:
    """Simulate every image for `steps` steps and score each step.

    `batches` gives (x (B, *input shape), labels (B,) or None), x being (B, frames, *input shape)
    where the network's encoder takes sequences (the original is shown their mean); samples are
    numbered in that order from `first`. `engine` says what is computed in (None: the float32
    reference). `progress(images done)` is called after each batch; where memory runs out, fewer
    images are run at once and `shrunk` is told how many. With a `share` the batches are those of
    this process, and process 0 gets the scores of all. For outputs that are not classes the
    agreement is 1 - |snn - ann| / |ann| (L2 norms, at least 0), averaged over images.

    Raises ConfigError without images, LoadError for labels that cannot be, SimulationError where
    memory does not even suffice for one image, and what `simulate` raises.
    """
    net, share = net.to(device=device), share or Alone()
    scorer = _Scorer(Program(net, engine), steps, torch.device(device), first)
    for samples in in_pieces(batches, scorer.score, shrunk=shrunk):
        if progress is not None:
            progress(samples)
    return scorer.total(share)


class _Scorer:
    """Scores one batch after the other, numbering the samples from `first`.

    All sums are of whole numbers, so that neither batches nor processes change the last digit.
    """

    def __init__(self, program: Program, steps: int, device: torch.device, first: int) -> None:
        self._program, self._device, self._first = program, device, first
        self._graph, self._encoder = program.net.graph, program.encoder
        self._activity = Activity(program.net, steps)
        self._right = torch.zeros(len(self._activity.at), dtype=torch.int64)
        self._agreed = torch.zeros(len(self._activity.at), dtype=torch.int64)
        self._ann_right = self._labelled = 0
        self._seconds = 0.0
        self._answers: list[Tensor] = []
        self._ann_answers: list[Tensor] = []

    def score(self, x: Tensor, y: Tensor | None) -> int:
        """Simulate a batch; the images scored so far. A batch that fails leaves nothing behind."""
        activity, x = self._activity, x.to(self._device)
        begin = self._first + activity.samples
        ids = torch.arange(begin, begin + len(x), device=x.device)
        targets, watch = self._original(x)
        if y is not None and is_classifier(self._graph):
            _check_labels(y, *targets[0].shape)
        start = time.perf_counter()
        result = simulate(
            self._program, x, steps=activity.steps, ids=ids, observe=watch, at=activity.at
        )
        seconds = time.perf_counter() - start
        if is_classifier(self._graph):
            answers, wanted = result.outputs[0].argmax(2).cpu(), targets[0].argmax(1).cpu()
        else:
            grains = (_closeness(result.outputs, targets) * _GRAINS).round().long().sum(1).cpu()
        watch.finish()  # the last that needs memory; from here on nothing fails
        activity.add(result, len(x))
        if is_classifier(self._graph):
            self._compare(answers, wanted, y)
        else:
            self._agreed += grains
        self._seconds += seconds
        return activity.samples

    def _original(self, x: Tensor) -> tuple[list[Tensor], Watch]:
        """The outputs of the original network, and what watches the neurons it kept silent."""
        graph = self._graph
        inputs = {name: graph.by_name[name].inputs[0] for name in graph.sites}
        with torch.no_grad():
            ann = run(graph, self._encoder.still(x), keep=inputs.values())
        currents = {name: ann[source] for name, source in inputs.items()}
        watch = self._activity.batch(currents)
        return [ann[name] for name in graph.outputs], watch

    def _compare(self, answers: Tensor, wanted: Tensor, y: Tensor | None) -> None:
        self._agreed += (answers == wanted).sum(1)
        narrow = torch.int16 if int(answers.max()) < 1 << 15 else torch.int32
        self._answers.append(answers.to(narrow))
        self._ann_answers.append(wanted)
        if y is not None:
            self._right += (answers == y.cpu()).sum(1)
            self._ann_right += int((wanted == y.cpu()).sum())
            self._labelled += len(y)

    def total(self, share: Share) -> Evaluation:
        """The scores of all processes."""
        activity, classes = self._activity, is_classifier(self._graph)
        activity.merge(share)
        shape = len(activity.at), activity.samples
        if not activity.samples:
            raise ConfigError("there are no images to evaluate on")
        counts = torch.tensor([self._labelled, self._ann_right])
        labelled, ann_right = share.add(counts).tolist()
        if labelled not in (0, activity.samples):
            raise LoadError("some images of the evaluation data have labels and some have none")
        right, agreed = share.add(self._right), share.add(self._agreed)
        slowest = -float(share.least(torch.tensor(-self._seconds, dtype=torch.float64)))
        return Evaluation(
            right.double() / labelled if labelled else None,
            agreed.double() / (activity.samples if classes else activity.samples * _GRAINS),
            ann_right / labelled if labelled else None,
            activity,
            slowest,
            activity.samples,
            joined(share, self._answers, shape, first=self._first) if classes else None,
            joined(share, self._ann_answers, shape[1:], first=self._first) if classes else None,
        )


_GRAINS = float(1 << 40)  # closeness is summed in these: whole numbers add up in any order


def _check_labels(labels: Tensor, count: int, classes: int) -> None:
    if labels.shape != (count,):
        raise LoadError(f"{count} images have labels of shape {tuple(labels.shape)}")
    if int(labels.max()) >= classes or int(labels.min()) < 0:
        raise LoadError(
            f"labels reach from {int(labels.min())} to {int(labels.max())}, but the network has "
            f"{classes} classes (0 to {classes - 1})",
            hint="check that the data set belongs to this network",
        )


def _closeness(got: tuple[Tensor, ...], wanted: list[Tensor]) -> Tensor:
    """1 - |got - wanted| / |wanted|, clamped to [0, 1], per step and image (T, B)."""
    gap = sum(
        ((g - w) ** 2).reshape(*g.shape[:2], -1).sum(2) for g, w in zip(got, wanted, strict=True)
    )
    size = sum((w**2).reshape(len(w), -1).sum(1) for w in wanted)
    ratio = torch.sqrt(torch.as_tensor(gap).double() / torch.as_tensor(size).double().clamp(1e-30))
    return (1 - ratio).clamp(0, 1)
