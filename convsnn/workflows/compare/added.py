"""Rows of a comparison that are there already: saved spiking networks, however they were made.

Each is scored here, on the images that all rows are scored on, prepared as the network itself was
trained or calibrated on them.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from calibrate.named import Spikes, kind_in_words
from convsnn.errors import ConfigError, LoadError
from convsnn.graph import Graph, run
from convsnn.measure.energy import macs
from convsnn.neurons import NEURONS
from convsnn.passes import relative_gap, tolerance
from convsnn.readouts import READOUTS
from convsnn.report.wording import amount, counted
from convsnn.spiking.network import Spiking
from convsnn.workflows.compare.rows import Conditions, Made
from convsnn.workflows.subject.job import Job
from convsnn.workflows.subject.saved import load_saved
from zoo.data import Preprocessing


@dataclass(frozen=True)
class Added:
    """A saved network; `digest` is of its file, `same` whether it came from the compared one."""

    place: Path
    label: str
    net: Spiking
    digest: str
    job: Job
    same: bool
    trains: bool = False
    guess: float = 0.0

    @property
    def name(self) -> str:
        """After the place and the file's content."""
        plain = re.sub(r"[^A-Za-z0-9.-]+", "-", self.label)
        return f"added-{plain[-40:]}-{self.digest[:8]}"

    @property
    def title(self) -> str:
        """The user's own name for it, and the steps that it was trained for."""
        steps = self._steps()
        return self.label if steps is None else f"{self.label} for {counted(steps, 'step')}"

    def identity(self) -> tuple[object, ...]:
        """See `Row`."""
        return "added", self.digest

    def describe(self) -> dict[str, Any]:
        """See `Row`."""
        training, method = self._training(), self.net.provenance["method"]
        labels = bool(training) and (not training.get("teacher") or bool(training.get("labels")))
        delay = READOUTS.create(self.net.readout).delay
        spikes = _spikes(self.net)
        how = training.get("recipe") or training.get("method")
        trained = f", trained by {how}" if how else ""
        return {
            "name": self.name,
            "title": self.title,
            "calibrate": str(method.get("calibration", "")),
            "neuron": self.net.neuron,
            "encoder": self.net.encoder.spec(),
            "readout": self.net.readout,
            "schedule": self.net.schedule,
            "how": f"--add {self.place}",
            "spikes": spikes,
            "trained": bool(training),
            "labels": labels,
            "reconstruction": False,
            "kind": kind_in_words(
                spikes,
                trained=bool(training),
                labels=labels,
                delay=delay,
                schedule=self.net.schedule,
            ),
            "delay": delay,
            "trained_steps": self._steps(),
            "same_network": self.same,
            "source": f"{self.net.provenance['model'].get('name', 'a network')}{trained}",
            "note": f"neurons {self.net.neuron}, {self.net.encoder.spec()} input",
            "differs": "",
            "published": [],
        }

    def intention(self) -> str:
        """See `Row`."""
        return f"scoring {self.place}"

    def make(self, under: Conditions) -> Made:
        """Score it; what making it took is what its file says."""
        delay = READOUTS.create(self.net.readout).delay
        if delay >= under.steps:
            raise ConfigError(
                f"its readout leaves out {counted(delay, 'step')}, of {under.steps} here",
                hint="compare with a larger --timesteps",
            )
        report = under.score(self.net, steps=under.steps, job=self.job)
        if report and not self.same:  # of several processes the first has a report
            report["warnings"] = [*report["warnings"], self._other(under.job.graph)]
        training = self._training()
        seconds = _number(training.get("seconds")) if training else 0.0
        return Made(
            self.net, report, _number(self.net.provenance.get("calibration_seconds")), seconds
        )

    def tidy(self, under: Conditions) -> None:
        """Nothing else was written."""

    def _training(self) -> Mapping[str, Any]:
        found = self.net.provenance["method"].get("training")
        return found if isinstance(found, Mapping) else {}

    def _steps(self) -> int | None:
        steps = self._training().get("timesteps")
        return steps if isinstance(steps, int) else None

    def _other(self, graph: Graph) -> str:
        mine, theirs = (
            amount(sum(macs(one, node) for node in one.nodes)) for one in (self.net.graph, graph)
        )
        return (
            f"did not start from the compared network ({mine} multiply-accumulates, that one "
            f"{theirs}); the energy is a ratio to that of the compared one all the same"
        )


def open_added(places: Sequence[Path], job: Job) -> list[Added]:
    """Open saved networks for a comparison on `job`'s data, all before any work.

    Raises LoadError for what is no saved network, ConfigError naming the first that is not for the
    same task: another input shape or other outputs, or, where agreement has to stand in for
    accuracy, another original network.
    """
    found = [_open(place, job) for place in places]
    digests = [one.digest for one in found]
    for one in found:
        if digests.count(one.digest) > 1:
            raise ConfigError(f"the network in '{one.place}' is added twice")
    names = [one.label for one in found]
    return [
        replace(one, label=str(one.place)) if names.count(one.label) > 1 else one for one in found
    ]


def _open(place: Path, job: Job) -> Added:
    file = place / "network.safetensors" if place.is_dir() else place
    if not file.exists():
        _explain(place)
    net = load_saved(place)
    _require_same_task(place, net, job)
    origin = net.provenance
    settings = Preprocessing.from_json(origin.get("preprocessing", {}))
    data = job.data_for(_input(net.graph), settings, frames=net.encoder.steps)
    same = origin["model"].get("sha256") == job.source.sha256 or _answers_alike(net, job)
    if not same and data.test.classes is None:
        raise ConfigError(
            f"'{place}' did not start from '{job.source.text}', and without labels its agreement "
            "with its own original says nothing beside the others",
            hint="compare it on labelled data",
        )
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    label = place.resolve().name if place.is_dir() else place.stem
    return Added(place, label, net, digest, replace(job, data=data), same)


def _require_same_task(place: Path, net: Spiking, job: Job) -> None:
    """Refuse a network of another input shape or of other outputs."""
    for what, mine, theirs in (
        ("inputs", _input(net.graph), _input(job.graph)),
        ("outputs", _output(net.graph), _output(job.graph)),
    ):
        if mine != theirs:
            raise ConfigError(
                f"'{place}' has {what} of shape {mine}, but '{job.source.text}' of {theirs}",
                hint="compare networks for the same task",
            )


def _answers_alike(net: Spiking, job: Job) -> bool:
    """Whether the original that `net` carries is the compared one by what it computes: one model
    has a digest for each form that it was read from, a module, a file of weights, an ONNX file."""
    with torch.no_grad():
        mine, theirs = (
            [values[name] for name in graph.outputs]
            for graph in (net.graph, job.graph)
            for values in [run(graph, job.example)]
        )
    if len(mine) != len(theirs):
        return False
    gaps = [relative_gap(one, other) for one, other in zip(mine, theirs, strict=True)]
    allowed = tolerance(job.graph, job.example, max(gaps))
    return all(gap <= allowed for gap in gaps)  # one that is no number is within nothing


def _input(graph: Graph) -> tuple[int, ...]:
    return tuple(graph.input.attrs["shape"])


def _output(graph: Graph) -> tuple[int, ...]:
    return tuple(graph.shapes[graph.outputs[0]])


def _explain(place: Path) -> None:
    """Raise LoadError for a place without a network, with what `convsnn train` says of it."""
    try:
        document = json.loads((place / "training.json").read_text(encoding="utf-8"))
        runs = [(run["seed"], str(run["reason"])) for run in document["runs"]]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        raise LoadError(
            f"'{place}' holds no spiking network",
            hint="give a result directory of convsnn convert, finetune or train",
        ) from None
    reasons = [reason for _, reason in runs if reason]
    if reasons:
        raise LoadError(f"the network in '{place}' cannot be simulated: {reasons[0]}")
    seeds = ", ".join(f"{place}/seed-{seed}" for seed, _ in runs)
    raise LoadError(f"'{place}' holds a network for each of its seeds", hint=f"name one: {seeds}")


def _spikes(net: Spiking) -> Spikes:
    """What its neurons can send; see `NamedMethod`."""
    if "signed" in net.kinds.values():
        return "signed"
    return "graded" if NEURONS.create(net.neuron, threshold=1.0).graded else "binary"


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
