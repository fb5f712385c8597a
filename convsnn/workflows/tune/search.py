"""Fits a neuron's constants to a network and compares it with fixed thresholds; the way in."""

import csv
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from rich.console import RenderableType

from calibrate.tuning import Study, load_optuna, space_of
from convsnn.errors import CalibrationError, ConfigError, MissingExtraError, SimulationError
from convsnn.registry import split_spec
from convsnn.report.files import write_text
from convsnn.report.page.assemble import packages, versions
from convsnn.report.sheets import Sheet
from convsnn.report.tuned import Row, render_tuned, tuned_sheets, verdict
from convsnn.report.tuning.page import render_tuning_page
from convsnn.workflows.running.result import Result
from convsnn.workflows.running.resume import check, claim, early_settings, job_settings
from convsnn.workflows.running.voice import command_line, line, note, progress, warn
from convsnn.workflows.subject.given import Images
from convsnn.workflows.subject.images import describe_part
from convsnn.workflows.subject.job import Job
from convsnn.workflows.subject.method import Method
from convsnn.workflows.subject.opening import Subject
from convsnn.workflows.subject.reading import Reading, subject_of
from convsnn.workflows.tune.error import (
    Score,
    Split,
    fixed_methods,
    measure,
    open_unscored,
    scored_steps,
    split,
)

JOURNAL, HISTORY, BEST, PAGE = "trials.log", "history.csv", "best.json", "tuning.html"
RESULTS = (JOURNAL, HISTORY, BEST, PAGE)


@dataclass(frozen=True, repr=False)
class Tuned(Result):
    """The best neuron beside its rivals, in `document`, and every trial, in `folder`."""

    folder: Path

    @property
    def neuron(self) -> str:
        """The neuron with its constants, as every command takes it."""
        return str(self.document["neuron"])

    @property
    def method(self) -> Method:
        """How to convert with it."""
        return Method(self.document["calibrate"], self.neuron)

    @property
    def options(self) -> str:
        """The same as options of `convsnn convert`."""
        return f"--calibrate {self.document['calibrate']} --neuron {self.neuron} --readout mean"

    def sheets(self) -> Sequence[Sheet]:
        """See `Tabled`."""
        return tuned_sheets(self.document)

    def render(self, *, width: int) -> RenderableType:
        """See `Result`."""
        del width
        return render_tuned(self.document)

    def about(self) -> str:
        """See `Result`."""
        error, trials = self.document["error"], self.document["trials"]
        return f"{self.neuron}, error {error:.4f}, best of {trials}, in {self.folder}"


def tune(
    subject: Subject,
    data: Images | str | None = None,
    *,
    neuron: str = "msat:reference=2",
    calibrate: str = "max",
    timesteps: int = 128,
    trials: int = 50,
    minutes: float | None = None,
    trial_samples: int = 100,
    folder: str | Path | None = None,
    force: bool = False,
    **reading: Unpack[Reading],
) -> Tuned:
    """Search the constants of `neuron` (see `calibrate.tuning.space_of`) from where it stands.

    `subject`, `data` and `reading` are what `convsnn.compare` takes.

    Thresholds come from `calibrate` on calibration images; `trial_samples` other training images
    choose among neurons, and as many again judge the best. No test image and no label is used.
    There are `trials` in all, those of earlier calls with the same `folder` (default: NAME-tune)
    included; after `minutes` none is begun. A `Job` has to be open with images for all three uses.

    Raises ConfigError where a neuron has nothing to search, what is in `folder` belongs to other
    settings (unless `force`) or there are too few images; MissingExtraError without optuna.
    """
    if timesteps < 1:
        raise ConfigError(f"--timesteps must be at least 1, not {timesteps}")
    if minutes is not None and not 0 <= minutes < float("inf"):
        raise ConfigError(f"--minutes is a number of at least 0, not {minutes}")
    Method(calibrate, neuron)
    space_of(neuron)
    load_optuna()
    asked = subject_of(tune, subject, data, reading=reading, scores=False)
    folder = Path(folder or f"{asked.source.name}-tune")
    method = {"neuron": neuron, "calibrate": calibrate, "trial_samples": trial_samples}
    early = early_settings(asked.source, steps=timesteps, seed=asked.seed) | method
    check(folder, early, command="tune", force=force)
    if not isinstance(asked, Job):
        more = asked.calibration_samples + 2 * trial_samples
        asked = replace(asked, calibration_samples=more)
    parts = split(open_unscored(asked, frames=timesteps), trials=trial_samples)
    settings = job_settings(parts.job, steps=timesteps) | method
    claim(folder, settings, command="tune", force=force, results=RESULTS)
    study = Study(neuron, folder / JOURNAL, seed=asked.seed)
    steps = scored_steps(timesteps)
    _search(study, parts, calibrate, steps=steps, trials=trials, minutes=minutes)
    found = Tuned(_document(study, parts, calibrate, steps), folder)
    write_text(folder / HISTORY, _history(study))
    write_text(folder / BEST, found.to_json())
    try:
        write_text(folder / PAGE, render_tuning_page(found.document, found.options))
    except MissingExtraError as error:
        note(f"{PAGE} was not written: {error}; {error.hint}")
    return found


def _search(
    study: Study,
    parts: Split,
    calibrate: str,
    *,
    steps: list[int],
    trials: int,
    minutes: float | None,
) -> None:
    """Run trials until there are `trials` of them or the time is over; at least one."""
    start = time.perf_counter()

    def objective(neuron: str) -> float | None:
        try:
            return measure(
                parts.job, Method(calibrate, neuron), parts.trials, steps=steps
            ).objective
        except (CalibrationError, SimulationError) as error:
            warn(f"{neuron} cannot be run: {error}")
            return None

    with progress("trials", trials) as advance:
        while (done := len(study.trials())) < trials:
            advance(done)
            late = minutes is not None and time.perf_counter() - start >= 60 * minutes
            if late and done:
                note(f"{minutes:g} minutes are over after {done} of {trials} trials")
                return
            trial = study.step(objective)
            if trial.error is not None:
                found = f"error {trial.error:.4f}, best {study.best().error:.4f}"
                line(f"[{done + 1}/{trials}] {found}")


def _document(study: Study, parts: Split, calibrate: str, steps: list[int]) -> Mapping[str, Any]:
    """The best neuron beside the one given and the fixed thresholds, on images of their own."""
    best = study.best()
    rivals = [
        ("tuned", Method(calibrate, best.neuron)),
        ("as given", Method(calibrate, study.neuron)),
        *fixed_methods(calibrate),
    ]
    rows = [_row(name, method, parts, steps) for name, method in rivals]
    return {
        "schema": 1,
        "convsnn": versions()["convsnn"],
        "command": command_line(),
        "neuron": best.neuron,
        "calibrate": calibrate,
        "error": best.error,
        "trials": len(study.trials()),
        "history": [trial.error for trial in study.trials()],
        "seed": parts.job.seed,
        "model": {
            "name": parts.job.source.name,
            "source": parts.job.source.text,
            "sha256": parts.job.source.sha256,
        },
        "data": {
            use: describe_part(images.part, len(images.indices))
            for use, images in (
                ("calibration", parts.job.images),
                ("trials", parts.trials),
                ("check", parts.check),
            )
        },
        "rows": rows,
        "verdict": verdict(rows),
        "versions": packages(),
    }


def _row(name: str, method: Method, parts: Split, steps: list[int]) -> Row:
    score: Score = measure(parts.job, method, parts.check, steps=steps)
    return {
        "name": name,
        "calibrate": method.calibrate,
        "neuron": method.neuron,
        **score.to_json(),
    }


def _history(study: Study) -> str:
    """Every trial as one line of a table: number, error (empty: could not run), options, neuron."""
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(["trial", "error", *study.space, "neuron"])
    for number, trial in enumerate(study.trials(), start=1):
        _, given = split_spec(trial.neuron)
        values = [given[key] for key in study.space]
        table.writerow([number, "" if trial.error is None else trial.error, *values, trial.neuron])
    return buffer.getvalue()
