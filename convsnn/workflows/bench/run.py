"""A whole benchmark: every model, number of steps and batch size, and the document of it all.

The way in to the folder.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from rich.console import RenderableType
from torch import nn

from convsnn.errors import ConfigError
from convsnn.report.files import require_writable, write_text
from convsnn.report.sheets import Sheet
from convsnn.report.wording import counted
from convsnn.workflows.bench import costs as bench_costs
from convsnn.workflows.bench.peers import PEERS
from convsnn.workflows.bench.race import (
    Clock,
    Entry,
    Row,
    agreements,
    enter,
    race,
    ratios,
    row,
)
from convsnn.workflows.bench.settings import Settings
from convsnn.workflows.bench.sheets import bench_sheets
from convsnn.workflows.bench.subject import Subject, open_subject
from convsnn.workflows.bench.table import render_bench
from convsnn.workflows.running.keywords import require_known
from convsnn.workflows.running.result import Result
from convsnn.workflows.running.voice import command_line, note

Model: TypeAlias = nn.Module | str | Path
MODELS = ("zoo:vgg16-cifar10", "zoo:resnet20-cifar10")


@dataclass(frozen=True, repr=False)
class Benchmark(Result):
    """What was measured, in `document`."""

    @property
    def failed(self) -> bool:
        """Whether an engine could not run."""
        return bool(self.document["failed"])

    def render(self, *, width: int) -> RenderableType:
        """See `Result`."""
        return render_bench(self.document, width=width)

    def sheets(self) -> Sequence[Sheet]:
        """See `Tabled`."""
        return bench_sheets(self.document)

    def about(self) -> str:
        """See `Result`."""
        models = ", ".join(model["name"] for model in self.document["models"])
        return f"{models}: {counted(len(self.document['results']), 'row')}"


def bench(
    models: Model | Sequence[Model] = MODELS,
    settings: Settings | None = None,
    *,
    output: str | Path | None = None,
    **options: Any,
) -> Benchmark:
    """Time the simulation of one or several `models`, against that of other packages.

    Each is a torch module, an ONNX file or a name, as for `convert`; a module needs `input_shape`,
    that of one sample: the images are random. `options` are the fields of
    `convsnn.workflows.bench.Settings`: timesteps=(16,), batch_sizes=(64,), peers=(), repeats=5,
    minutes, ...; or `settings` holds them. The document is written to `output` where that is
    given. Raises TypeError for an unknown option, ConfigError, LoadError and UnsupportedError for a
    model or a place that cannot be used; an engine that cannot run is an entry that says why.
    """
    require_known("bench", options, [field.name for field in fields(Settings)])
    settings = replace(settings, **options) if settings else Settings(**options)
    models = [models] if isinstance(models, nn.Module | str | Path) else models
    output = None if output is None else Path(output)
    for name in ("weights", "answer"):
        if getattr(settings, name) is not None and len(models) != 1:
            raise ConfigError(f"--{name} is for one model", hint="name that model alone")
    if output is not None:
        _check_target(output)
    with _threads(settings.threads):
        found = Benchmark(_measured(models, settings))
    if output is not None:
        write_text(output, found.to_json())
    return found


def _check_target(output: Path) -> None:
    """Refuse, before the work, a file that cannot be written."""
    if output.is_dir():
        raise ConfigError(f"--output: '{output}' is a directory", hint="name a file")
    if not output.parent.is_dir():
        raise ConfigError(f"--output: the directory '{output.parent}' does not exist")
    require_writable(output.parent)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before: Any = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _measured(models: Sequence[Model], settings: Settings) -> dict[str, Any]:
    clock = Clock(settings.minutes)
    before = bench_costs.load()
    bench = _Bench(settings, clock)
    for number, model in enumerate(models):
        bench.share = 1 / (len(models) - number)
        bench.model(model)
    return {
        "schema": 1,
        "command": command_line(),
        "machine": bench_costs.machine(settings.device),
        "load": [before, bench_costs.load()],
        "device": str(settings.device),
        "threads": torch.get_num_threads(),
        "versions": bench_costs.all_versions(settings.peers),
        "models": bench.models,
        "ann": bench.ann,
        "results": bench.rows,
        "ratio": ratios(bench.rows, settings.peers),
        "ratio_float32": ratios(
            [r for r in bench.rows if r["precision"] == "float32"], settings.peers
        ),
        "neurons": bench.neurons,
        "stages": bench.stages,
        "start_seconds": bench_costs.start_seconds() if settings.stages else None,
        "memory": bench.memory,
        "failed": bench.failed,
        "notes": bench.notes,
    }


class _Bench:
    """Collects the parts of the document model by model."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings, self.clock, self.share = settings, clock, 1.0
        self.models: list[dict[str, Any]] = []
        self.ann: list[dict[str, Any]] = []
        self.rows: list[Row] = []
        self.neurons: list[dict[str, Any]] = []
        self.stages: list[dict[str, Any]] = []
        self.memory: list[dict[str, Any]] = []
        self.failed: list[dict[str, Any]] = []
        self.notes: list[str] = []

    def model(self, model: Model) -> None:
        """Everything about one model."""
        s = self.settings
        said = type(model).__name__ if isinstance(model, nn.Module) else model
        note(f"reading and calibrating {said}")
        subject = open_subject(
            model,
            weights=None if s.weights is None else Path(s.weights),
            input_shape=None if s.input_shape is None else tuple(s.input_shape),
            answer=s.answer,
            steps=max(s.timesteps),
            seed=s.seed,
            device=s.device,
            max_pool=s.max_pool,
            schedule=s.schedule,
        )
        seconds = {f"{key}_seconds": value for key, value in subject.seconds.items()}
        self.models.append({"name": subject.name, "trained": subject.trained, **seconds})
        rows: list[Row] = []
        for batch in s.batch_sizes:
            rows += self._batch(subject, batch)
        self.rows += rows
        given = {"threads": torch.get_num_threads(), "device": str(s.device), "seed": s.seed}
        if s.peak:
            note("measuring memory, each engine in a process of its own")
            self.notes += bench_costs.add_peaks(rows, subject, given, self.clock)
        if s.memory:
            found, notes = bench_costs.memory_growth(rows, subject, given, self.clock)
            self.memory += found
            self.notes += notes
        self._costs(subject)

    def _costs(self, subject: Subject) -> None:
        s = self.settings
        x = subject.images(s.batch_sizes[-1], s.device, seed=s.seed)
        if s.neurons:
            note("measuring neurons")
            self.neurons += bench_costs.neuron_costs(
                subject,
                x,
                s.neurons,
                precisions=s.extra,
                steps=s.timesteps[-1],
                repeats=s.repeats,
                clock=self.clock,
            )
        if s.stages:
            note("measuring calibration")
            self.stages += bench_costs.stage_seconds(subject, x, self._peers(subject))

    def _batch(self, subject: Subject, batch: int) -> list[Row]:
        """All engines on one batch, for every number of steps."""
        s, x = self.settings, subject.images(batch, self.settings.device, seed=self.settings.seed)
        entries: list[Entry] = []
        peers = [engine for peer in self._peers(subject) for engine in PEERS[peer]]
        for engine in ("convsnn", "convsnn counting", *peers):
            note(f"warming up {engine} on batches of {batch}")
            precisions = {"convsnn": s.precisions, "convsnn counting": s.extra[-1:]}.get(engine)
            made, failures = enter(engine, subject.net, x, precisions=precisions, clock=self.clock)
            entries += made
            self.failed += [{"model": subject.name, **vars(failure)} for failure in failures]
        rows: list[Row] = []
        for steps in s.timesteps:
            rows += self._race(subject, x, entries, steps)
        return rows

    def _peers(self, subject: Subject) -> Sequence[str]:
        """The packages that can run such a network: all know neurons and weights only."""
        peers = self.settings.peers
        if not subject.net.graph.smooth or not peers:
            return peers
        said = f"{subject.name} has functions and products, which {', '.join(peers)} cannot run"
        if said not in self.notes:
            note(said)
            self.notes.append(said)
        return ()

    def _race(
        self, subject: Subject, x: torch.Tensor, entries: list[Entry], steps: int
    ) -> list[Row]:
        s = self.settings
        note(f"{subject.name}: {steps} steps, batch {len(x)}, {len(entries)} engines in turns")
        for entry in entries:
            entry.seconds.clear()
        same = agreements(entries, subject.net, x, steps)
        cases = len(s.timesteps) * len(s.batch_sizes)
        passes = race(
            entries,
            subject.ann,
            x,
            steps=steps,
            repeats=s.repeats,
            clock=self.clock,
            share=self.share / cases / 2,  # the other half is for memory and costs
        )
        ann = sorted(passes)[len(passes) // 2]
        self.ann.append(
            {
                "model": subject.name,
                "timesteps": steps,
                "batch_size": len(x),
                "seconds": ann,
                "images_per_second": len(x) / ann,
            }
        )
        about: dict[str, Any] = {"model": subject.name, "steps": steps, "batch": len(x)}
        return [
            row(entry, ann, agreement=agreement, **about)
            for entry, agreement in zip(entries, same, strict=True)
        ]
