"""What can be a row of a comparison, what all rows share, and the rows that need no training."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from calibrate.fits import Fit
from calibrate.named import NamedMethod, kind_in_words
from convsnn.measure import Evaluation
from convsnn.measure.tasks.classify import class_numbers
from convsnn.report.comparison.apart import as_digits
from convsnn.report.comparison.document import compared_steps
from convsnn.spiking.network import Spiking
from convsnn.workflows.subject.job import Job
from convsnn.workflows.subject.method import Method
from zoo.data import Part, choose


@dataclass(frozen=True)
class Conditions:
    """What every row is made under: the network and its data, the steps and test images to score.

    `settings` are what results depend on beside the row itself, as plain JSON values; `folder` is
    where rows are kept.
    """

    job: Job
    folder: Path
    steps: int
    samples: int | None
    settings: Mapping[str, Any]

    def score(self, net: Spiking, *, steps: int, job: Job | None = None) -> dict[str, Any]:
        """The report on `net`, with the answers that are `right`; `job` is another than its own
        where the images are prepared otherwise."""
        job = job or self.job
        indices = choose(job.data.test, self.samples, seed=job.seed)

        def also(_: Spiking, evaluation: Evaluation, *__: object) -> Mapping[str, Any]:
            return right_answers(evaluation, job.data.test, indices)

        return job.score(net, steps=steps, samples=self.samples, also=also)


def right_answers(evaluation: Evaluation, part: Part, indices: Sequence[int]) -> dict[str, Any]:
    """Which answers after the last step are right, or are the original's where nothing is scored;
    nothing where answers are no classes."""
    found, wanted = evaluation.predictions, evaluation.ann_predictions
    if found is None or wanted is None:
        return {}
    if evaluation.scores and part.targets is not None:
        wanted = class_numbers(part.targets[list(indices)])
    return {"right": as_digits(found[-1].cpu() == wanted.cpu())}


@dataclass(frozen=True)
class Made:
    """A row's network, the report on it, and the seconds that it took to get there; None where
    nothing tells. `columns` are reports on networks made for fewer steps, by their number."""

    net: Spiking
    report: dict[str, Any]
    calibration_seconds: float | None
    training_seconds: float | None = 0.0
    columns: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)


class Row(Protocol):
    """Something to compare."""

    @property
    def name(self) -> str:
        """The name of the file that it is kept in."""
        ...

    @property
    def title(self) -> str:
        """As people see it."""
        ...

    @property
    def place(self) -> Path | None:
        """Where its network is saved already; None for one that is made here."""
        ...

    @property
    def trains(self) -> bool:
        """Whether making it means training."""
        ...

    @property
    def guess(self) -> float:
        """Seconds it takes, as far as is known before the first of its kind has run."""
        ...

    def identity(self) -> tuple[object, ...]:
        """Plain values that differ where the result may, beside the conditions."""
        ...

    def describe(self) -> dict[str, Any]:
        """What a reader has to know of it, as the comparison holds it."""
        ...

    def intention(self) -> str:
        """What will be done, in a few words."""
        ...

    def make(self, under: Conditions) -> Made:
        """Do it; raises ConvsnnError where it cannot be done."""
        ...

    def tidy(self, under: Conditions) -> None:
        """The row has been written: what only served to go on after an interruption can go."""
        ...


@dataclass(frozen=True)
class Conversion:
    """A named method of conversion, to be scored at `steps` steps.

    What is made for one number of steps is made anew for every column of the table. On sequences of
    `frames` it is shown one a step, or their mean where a layer waits for all of them.
    """

    method: NamedMethod
    steps: int
    place: None = None
    trains: bool = False
    guess: float = 0.0
    fit: tuple[Fit, ...] = ()
    frames: int | None = None

    @property
    def name(self) -> str:
        """That of the method."""
        return self.method.name

    @property
    def title(self) -> str:
        """That of the method."""
        return self.method.title

    def identity(self) -> tuple[object, ...]:
        """See `Row`."""
        known: tuple[object, ...]
        known = self.method.stages(self.steps), self.method.neuron, self.method.reading(self.steps)
        if self.method.for_one_number:
            known = (*known, "columns")
        if self.method.schedule == "layers":
            known = (*known, "layers")
        if self.fit:
            known = (*known, *map(str, self.fit))
        if self.frames is not None:
            known = (*known, self.frames)
        return known if self.method.encoder == "direct" else (*known, self.method.encoder)

    def describe(self) -> dict[str, Any]:
        """See `Row`."""
        method, stages = self.method, self.method.stages(self.steps)
        reading, delay = method.reading(self.steps), method.delay(self.steps)
        read = "" if reading == "auto" else f" --readout {reading}"
        sends = "" if method.encoder == "direct" else f" --encoder {method.encoder}"
        fires = " --schedule layers" if method.schedule == "layers" else ""
        fires += "".join(f" --fit {fit}" for fit in self.fit)
        return {
            **vars(method),
            "calibrate": stages,
            "encoder": self._encoder(),
            "note": "; ".join(filter(None, (method.note, self._shown()))),
            "readout": reading,
            "how": f"--calibrate {stages} --neuron {method.neuron}{sends}{read}{fires}",
            "kind": kind_in_words(
                method.spikes,
                trained=method.trained,
                labels=method.labels,
                rebuilt=method.reconstruction,
                delay=delay,
                schedule=method.schedule,
            ),
            "delay": delay,
            "trained_steps": None,
            "same_network": True,
            "published": [
                {**vars(p), "accuracy": {str(step): value for step, value in p.accuracy.items()}}
                for p in method.published
            ],
        }

    def intention(self) -> str:
        """See `Row`."""
        return f"{self.method.stages(self.steps)}, {self.method.neuron}"

    def make(self, under: Conditions) -> Made:
        """Convert and score."""
        columns = {}
        for steps in compared_steps(self.steps) if self.method.for_one_number else [self.steps]:
            start = time.perf_counter()
            job, how = under.job.first(steps).shown(self._how(steps), steps)
            net = job.convert(how, steps=steps, samples=under.samples)
            spent = time.perf_counter() - start  # of the last, as that of the simulation
            columns[steps] = under.score(net, steps=steps, job=job)
        report = columns.pop(self.steps)
        return Made(net, report, spent, columns=columns)

    def _shown(self) -> str:
        if self.frames is None:
            return ""
        layers = self.method.schedule == "layers"
        return "shown the mean frame" if layers else "shown a frame of the sequence at every step"

    def _encoder(self) -> str:
        moves = self.frames is not None and self.method.schedule == "steps"
        return f"frames:steps={self.frames}" if moves else self.method.encoder

    def _how(self, steps: int) -> Method:
        method = self.method
        return Method(
            method.stages(steps),
            method.neuron,
            method.encoder,
            readout=method.reading(steps),
            schedule=method.schedule,
            fit=self.fit,
        )

    def tidy(self, under: Conditions) -> None:
        """Nothing else was written."""
