"""What `convsnn tune` measures: a neuron's error against the original, on training images only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, log
from typing import Any

import torch

from convsnn.errors import ConfigError, LoadError
from convsnn.graph import run
from convsnn.measure import answers_classes
from convsnn.measure.tasks import decide
from convsnn.registry import split_spec
from convsnn.simulate import simulate
from convsnn.workflows.subject.images import Chosen
from convsnn.workflows.subject.job import Job
from convsnn.workflows.subject.method import Method
from convsnn.workflows.subject.opening import Opening, opened
from zoo.data import draw

STEPS = (32, 64, 128)
FACTORS = (1.0, 0.7, 0.5)  # of the maximum: the fixed thresholds to beat
LEAST = 1e-9  # an error of nothing has no logarithm


def scored_steps(total: int) -> list[int]:
    """The time steps that count: those of STEPS up to `total`, or `total` where it is smaller."""
    return [step for step in STEPS if step <= total] or [total]


@dataclass(frozen=True)
class Score:
    """By time step: the mean over images of |snn - ann| / |ann| (L2 norms of the outputs), and the
    share of images with the same answer, None where outputs are not classes."""

    error: Mapping[int, float]
    agreement: Mapping[int, float] | None

    @property
    def objective(self) -> float:
        """The geometric mean of the errors, so that every step counts alike."""
        return exp(sum(log(max(e, LEAST)) for e in self.error.values()) / len(self.error))

    def to_json(self) -> dict[str, Any]:
        """Steps as text, as JSON has them."""
        same = self.agreement
        return {
            "error": {str(step): value for step, value in self.error.items()},
            "agreement": None if same is None else {str(s): value for s, value in same.items()},
        }


@dataclass(frozen=True)
class Split:
    """Training images for three uses, none for two of them.

    `job` calibrates thresholds on its own, `trials` choose among neurons, `check` judges the
    chosen one: the best of many is better on the images it was chosen by than on others.
    """

    job: Job
    trials: Chosen
    check: Chosen


def open_unscored(asked: Job | Opening, *, frames: int | None = None) -> Job:
    """The job, opened where it is not. No label is asked for, so that none is refused; of those
    there are, only the kind says whether answers are classes."""
    if isinstance(asked, Job) or asked.task is not None:
        return opened(asked, frames=frames)
    job = replace(asked, task="none").open(frames=frames)
    try:
        return replace(job, task=decide(job.data.train.targets, job.graph).said)
    except (ConfigError, LoadError):
        return job


def split(job: Job, *, trials: int) -> Split:
    """Set `trials` images apart for each of the two last uses of `Split`.

    `job` was opened with the images for all three. ConfigError where there are too few.
    """
    part, wanted = job.images.part, len(job.images.indices)
    calibration = wanted - 2 * trials
    if calibration < 1:
        raise ConfigError(
            f"the training part has {len(part)} images, too few to calibrate on and 2 x {trials} "
            "to score",
            hint="lower --trial-samples",
        )
    # not sorted: where data is stored by class, the first few images of a use show all classes
    drawn = draw(part, wanted, seed=job.seed)
    uses = drawn[:calibration], drawn[calibration : wanted - trials], drawn[wanted - trials :]
    images = [replace(job.images, indices=use) for use in uses]
    return Split(replace(job, images=images[0]), images[1], images[2])


def measure(job: Job, method: Method, images: Chosen, *, steps: Sequence[int]) -> Score:
    """Convert by `method` and compare outputs with the original's after each of `steps`."""
    net = job.convert(method, steps=steps[-1])
    at = [step - 1 for step in steps]
    error = torch.zeros(len(at), dtype=torch.float64)
    agreed = torch.zeros(len(at), dtype=torch.float64)
    seen, classes = 0, answers_classes(net)
    for x in images:
        with torch.no_grad():
            found = run(net.graph, net.encoder.still(x))
        ids = torch.arange(seen, seen + len(x), device=x.device)
        outputs = [out[at] for out in simulate(net, x, steps=steps[-1], ids=ids).outputs]
        wanted = [found[name] for name in net.graph.outputs]
        gap = sum(
            ((got - ann) ** 2).reshape(*got.shape[:2], -1).sum(2)
            for got, ann in zip(outputs, wanted, strict=True)
        )
        size = sum((ann**2).reshape(len(ann), -1).sum(1) for ann in wanted)
        ratio = torch.as_tensor(gap).double() / torch.as_tensor(size).double().clamp(1e-30)
        error += ratio.sqrt().sum(1).cpu()
        if classes:
            agreed += (outputs[0].argmax(2) == wanted[0].argmax(1)).sum(1).cpu()
        seen += len(x)
    same = dict(zip(steps, (agreed / seen).tolist(), strict=True))
    return Score(
        dict(zip(steps, (error / seen).tolist(), strict=True)),
        same if classes else None,
    )


def fixed_methods(calibrate: str) -> list[tuple[str, Method]]:
    """The fixed thresholds that a tuned neuron has to beat, by name.

    They start from the initial potential that `calibrate` gives the neuron, where it names one.
    """
    _, options = split_spec(calibrate.partition("+")[0])
    potential = f",potential={options['potential']}" if "potential" in options else ""
    return [
        (f"fixed, {factor} of maximum", Method(f"max:factor={factor}{potential}", "if"))
        for factor in FACTORS
    ]
