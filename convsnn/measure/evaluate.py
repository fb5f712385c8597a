"""Scores a spiking network against labels and against the network it came from, at every step."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from convsnn.errors import ConfigError, LoadError
from convsnn.graph import Graph, run
from convsnn.measure.activity import Activity
from convsnn.rewrite import Spiking
from convsnn.simulate import simulate

Batches = Iterable[tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class Evaluation:
    """Scores over a data set, steps first: `accuracy` and `agreement` (T,), fractions.

    Accuracies are None without labels. `predictions` (T, N) and `ann_predictions` (N,) are class
    numbers, None for outputs that are not classes. `seconds` is the time spent simulating.
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


@dataclass
class _Scores:
    right: Tensor
    agreed: Tensor
    ann_right: int = 0
    labelled: int = 0


def evaluate(
    net: Spiking,
    batches: Batches,
    *,
    steps: int,
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Simulate every image for `steps` steps and score each step.

    `batches` gives (x (B, *input shape), labels (B,) or None); samples are numbered in that order
    from 0. `progress(images done)` is called after each batch. For outputs that are not classes
    the agreement is 1 - |snn - ann| / |ann| (L2 norms, at least 0), averaged over images.
    """
    net = net.to(device=device)
    classes = is_classifier(net.graph)
    activity = Activity(net, steps)
    scores = _Scores(torch.zeros(steps, dtype=torch.int64), torch.zeros(steps, dtype=torch.float64))
    seconds, predictions, ann_predictions = 0.0, [], []
    inputs = {name: net.graph.by_name[name].inputs[0] for name in net.graph.sites}
    for x, y in batches:
        x = x.to(device)
        ids = torch.arange(activity.samples, activity.samples + len(x), device=x.device)
        with torch.no_grad():
            ann = run(net.graph, x, keep=inputs.values())
        watch = activity.batch({name: ann[source] for name, source in inputs.items()})
        start = time.perf_counter()
        result = simulate(net, x, steps=steps, ids=ids, observe=watch)
        seconds += time.perf_counter() - start
        watch.finish()
        activity.add(result, len(x))
        targets = [ann[name] for name in net.graph.outputs]
        if classes:
            answers, wanted = result.outputs[0].argmax(2).cpu(), targets[0].argmax(1).cpu()
            predictions.append(answers)
            ann_predictions.append(wanted)
            scores.agreed += (answers == wanted).sum(1)
            if y is not None:
                _count_right(scores, answers, wanted, y.cpu(), targets[0].shape[1])
        else:
            scores.agreed += _closeness(result.outputs, targets).cpu()
        if progress is not None:
            progress(activity.samples)
    if not activity.samples:
        raise ConfigError("there are no images to evaluate on")
    if scores.labelled not in (0, activity.samples):
        raise LoadError("some images of the evaluation data have labels and some have none")
    known = scores.labelled > 0
    return Evaluation(
        scores.right.double() / scores.labelled if known else None,
        scores.agreed / activity.samples,
        scores.ann_right / scores.labelled if known else None,
        activity,
        seconds,
        activity.samples,
        torch.cat(predictions, 1) if classes else None,
        torch.cat(ann_predictions) if classes else None,
    )


def _count_right(
    scores: _Scores, answers: Tensor, wanted: Tensor, labels: Tensor, classes: int
) -> None:
    if labels.shape != wanted.shape:
        raise LoadError(f"{len(wanted)} images have labels of shape {tuple(labels.shape)}")
    if int(labels.max()) >= classes or int(labels.min()) < 0:
        raise LoadError(
            f"labels reach from {int(labels.min())} to {int(labels.max())}, but the network has "
            f"{classes} classes (0 to {classes - 1})",
            hint="check that the data set belongs to this network",
        )
    scores.right += (answers == labels).sum(1)
    scores.ann_right += int((wanted == labels).sum())
    scores.labelled += len(labels)


def _closeness(got: tuple[Tensor, ...], wanted: list[Tensor]) -> Tensor:
    """Sum over images of 1 - |got - wanted| / |wanted|, clamped to [0, 1], per step."""
    gap = sum(
        ((g - w) ** 2).reshape(*g.shape[:2], -1).sum(2) for g, w in zip(got, wanted, strict=True)
    )
    size = sum((w**2).reshape(len(w), -1).sum(1) for w in wanted)
    ratio = torch.sqrt(torch.as_tensor(gap).double() / torch.as_tensor(size).double().clamp(1e-30))
    return (1 - ratio).clamp(0, 1).sum(1)
