"""Scores a spiking network against labels and against the network it came from, at every step."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor

from convsnn.errors import ConfigError, LoadError
from convsnn.graph import Graph, run
from convsnn.measure.activity import Activity, Watch
from convsnn.measure.energy.zeros import Seen, Zeros, ZerosOfBatch
from convsnn.measure.fitting import Batches, in_pieces
from convsnn.measure.sharing import Alone, Share, joined
from convsnn.measure.tasks import TASKS, Score, Tally, Task, decide
from convsnn.simulate import Engine, Program, simulate
from convsnn.spiking.network import Spiking


@dataclass(frozen=True)
class Series:
    """A score of the original network, `ann`, and of the spiking one at every step, `snn` (T,);
    NaN where it has no value."""

    score: Score
    ann: float
    snn: Tensor


@dataclass(frozen=True)
class Evaluation:
    """Scores over a data set, steps first: `accuracy` and `agreement` (T,), fractions; of a network
    that fires layer by layer, in the place of T, for each of `activity.at`.

    Accuracies are None where no classes are scored; `scores`, by name, holds whatever the `task`
    scores, the headline first, and nothing without targets. `predictions` (T, N) and
    `ann_predictions` (N,) are class numbers, None for other tasks. `doubt` says in what the
    original is no better than guessing. `seconds` is the time spent simulating, of the slowest
    process where there are several. `seen` is what the original's layers read.
    """

    accuracy: Tensor | None
    agreement: Tensor
    ann_accuracy: float | None
    activity: Activity
    seconds: float
    samples: int
    predictions: Tensor | None
    ann_predictions: Tensor | None
    task: Task = field(default_factory=lambda: TASKS.create("none"))
    scores: Mapping[str, Series] = field(default_factory=dict)
    doubt: str = ""
    seen: Seen | None = None


def is_classifier(graph: Graph) -> bool:
    """Whether the network has one output, a vector of at least two scores."""
    shape = graph.shapes[graph.outputs[0]]
    return len(graph.outputs) == 1 and len(shape) == 1 and shape[0] > 1


def answers_classes(net: Spiking) -> bool:
    """Whether the answers of `net` are classes: as it says itself, or else as its outputs look."""
    return is_classifier(net.graph) and net.provenance.get("task", "classify") == "classify"


def score_ann(graph: Graph, batches: Batches) -> tuple[float | None, int]:
    """Accuracy of the original network (None without class numbers) and the number of images."""
    right = seen = labelled = 0
    with torch.no_grad():
        for x, y in batches:
            seen += len(x)
            if y is not None and is_classifier(graph) and are_classes(y):
                answer = run(graph, x)[graph.outputs[0]].argmax(1)
                right += int((answer == y.to(answer.device)).sum())
                labelled += len(y)
    return (right / labelled if labelled else None), seen


def are_classes(y: Tensor) -> bool:
    """Whether targets are class numbers, one a sample."""
    return y.dim() == 1 and not y.is_floating_point()


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
    task: Task | str | None = None,
) -> Evaluation:
    """Simulate every image for `steps` steps and score each step.

    `batches` gives (x (B, *input shape), targets (B, ...) or None), x being
    (B, frames, *input shape) where the network's encoder takes sequences (the original is shown
    their mean); samples are numbered in that order from `first`. `engine` says what is computed in
    (None: the float32 reference). `progress(images done)` is called after each batch; where memory
    runs out, fewer images are run at once and `shrunk` is told how many. With a `share` the
    batches are those of this process, and process 0 gets the scores of all.

    `task` is one of `TASKS` (None: as the targets of the first batch decide it; with several
    processes it has to be given). The agreement with the original is the share of equal decisions;
    where outputs are numbers it is 1 - |snn - ann| / |ann| (L2 norms, at least 0), averaged over
    images.

    Raises ConfigError without images or where the task cannot be told, LoadError for targets that
    cannot be, MissingExtraError for a task that needs torchmetrics, SimulationError where
    memory does not even suffice for one image, and what `simulate` raises.
    """
    net, share = net.to(device=device), share or Alone()
    batches, told = _told(net.graph, batches, task)
    scorer = _Scorer(Program(net, engine), steps, torch.device(device), first, told)
    for samples in in_pieces(batches, scorer.score, shrunk=shrunk):
        if progress is not None:
            progress(samples)
    return scorer.total(share)


def _told(graph: Graph, batches: Batches, task: Task | str | None) -> tuple[Batches, Task]:
    """The batches, still whole, and the task that was given or that the first of them decides."""
    if isinstance(task, Task):
        return batches, task
    coming: Iterator[tuple[Tensor, Tensor | None]] = iter(batches)
    first = next(coming, None)
    seen: Iterable[tuple[Tensor, Tensor | None]] = () if first is None else (first,)
    targets = None if first is None else first[1]
    return chain(seen, coming), decide(targets, graph, asked=task).task


class _Scorer:
    """Scores one batch after the other, numbering the samples from `first`.

    Counts are of whole numbers, so that neither batches nor processes change their last digit.
    """

    def __init__(
        self, program: Program, steps: int, device: torch.device, first: int, task: Task
    ) -> None:
        self._program, self._device, self._first, self._task = program, device, first, task
        self._graph, self._encoder = program.net.graph, program.encoder
        self._activity = Activity(program.net, steps)
        self._zeros = Zeros(self._graph)
        shape, count = self._graph.shapes[self._graph.outputs[0]], len(self._activity.at)
        self._tally, self._ann_tally = task.nothing(count, shape), task.nothing(1, shape)
        self._agreed = torch.zeros(count, dtype=torch.int64)
        self._labelled = 0
        self._seconds = 0.0
        self._answers: list[Tensor] = []
        self._ann_answers: list[Tensor] = []

    def score(self, x: Tensor, y: Tensor | None) -> int:
        """Simulate a batch; the images scored so far. A batch that fails leaves nothing behind."""
        activity, task, x = self._activity, self._task, x.to(self._device)
        if y is not None:
            self._check(y, len(x))
        begin = self._first + activity.samples
        ids = torch.arange(begin, begin + len(x), device=x.device)
        originals, watch, zeros = self._original(x)
        start = time.perf_counter()
        result = simulate(
            self._program, x, steps=activity.steps, ids=ids, observe=watch, at=activity.at
        )
        seconds = time.perf_counter() - start
        outputs, wanted = joint(result.outputs), joint([each[None] for each in originals])
        answers, right = task.decided(outputs), task.decided(wanted)
        alike = task.agreement(
            outputs if answers is None else answers, wanted if right is None else right
        )
        grains = (alike * _GRAINS).round().long().sum(1).cpu()
        tallies: list[Tally] = []
        if y is not None:
            y = y.to(outputs.device)
            tallies = [task.tally(outputs, answers, y), task.tally(wanted, right, y)]
        watch.finish()  # the last that needs memory; from here on nothing fails
        activity.add(result, len(x))
        self._zeros.keep(zeros)
        self._agreed += grains
        if tallies:
            self._tally = task.added(self._tally, tallies[0])
            self._ann_tally = task.added(self._ann_tally, tallies[1])
            self._labelled += len(x)
        if task.name == "classify" and answers is not None and right is not None:
            self._keep(answers.cpu(), right[0].cpu())
        self._seconds += seconds
        return activity.samples

    def _check(self, y: Tensor, count: int) -> None:
        if len(y) != count:
            raise LoadError(f"{count} images have labels of shape {tuple(y.shape)}")
        shape = self._graph.shapes[self._graph.outputs[0]]
        if wrong := self._task.misfit(y, shape):
            raise LoadError(wrong, hint="check that the data set belongs to this network")

    def _original(self, x: Tensor) -> tuple[list[Tensor], Watch, ZerosOfBatch]:
        """The outputs of the original network, what watches the neurons it kept silent, and the
        zeros that it read."""
        graph, zeros = self._graph, self._zeros.watch()
        inputs = {name: graph.by_name[name].inputs[0] for name in graph.sites}
        with torch.no_grad():
            ann = run(graph, self._encoder.still(x), keep=inputs.values(), watch=zeros)
        currents = {name: ann[source] for name, source in inputs.items()}
        watch = self._activity.batch(currents)
        return [ann[name] for name in graph.outputs], watch, zeros

    def _keep(self, answers: Tensor, wanted: Tensor) -> None:
        narrow = torch.int16 if int(answers.max()) < 1 << 15 else torch.int32
        self._answers.append(answers.to(narrow))
        self._ann_answers.append(wanted)

    def total(self, share: Share) -> Evaluation:
        """The scores of all processes."""
        activity, classes = self._activity, self._task.name == "classify"
        activity.merge(share)
        shape = len(activity.at), activity.samples
        if not activity.samples:
            raise ConfigError("there are no images to evaluate on")
        seen = self._zeros.total(share)
        labelled = int(share.add(torch.tensor(self._labelled)))
        if labelled not in (0, activity.samples):
            raise LoadError("some images of the evaluation data have labels and some have none")
        tally, ann_tally = (
            self._task.of_all(found, share) for found in (self._tally, self._ann_tally)
        )
        agreed = share.add(self._agreed)
        scores = self._scores(tally, ann_tally) if labelled and share.number == 0 else {}
        accuracy = scores.get("accuracy") if classes else None
        slowest = -float(share.least(torch.tensor(-self._seconds, dtype=torch.float64)))
        return Evaluation(
            None if accuracy is None else accuracy.snn,
            agreed.double() / (activity.samples * _GRAINS),
            None if accuracy is None else accuracy.ann,
            activity,
            slowest,
            activity.samples,
            joined(share, self._answers, shape, first=self._first) if classes else None,
            joined(share, self._ann_answers, shape[1:], first=self._first) if classes else None,
            self._task,
            scores,
            self._task.doubt(ann_tally) if scores else "",
            seen,
        )

    def _scores(self, tally: Tally, ann_tally: Tally) -> dict[str, Series]:
        """By name, what the task makes of the sums over all samples."""
        ann = {score.name: value for score, value in self._task.scores(ann_tally)}
        return {
            score.name: Series(score, float(ann[score.name][0]), value)
            for score, value in self._task.scores(tally)
        }


_GRAINS = float(1 << 40)  # agreement is summed in these: whole numbers add up in any order


def joint(outputs: Sequence[Tensor]) -> Tensor:
    """Several outputs, each (T, B, ...), as one."""
    if len(outputs) == 1:
        return outputs[0]
    return torch.cat([each.flatten(2) for each in outputs], 2)
