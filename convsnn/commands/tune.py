"""`convsnn tune`: fits a neuron's constants to a network, on training images only."""

import csv
import io
import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from calibrate.tuning import Study, load_optuna, space_of
from convsnn.commands import options
from convsnn.commands.terminal import messages
from convsnn.errors import CalibrationError, ConfigError, SimulationError
from convsnn.registry import split_spec
from convsnn.report.files import write_text
from convsnn.report.page.assemble import packages, versions
from convsnn.report.tuned import Row, render_tuned, verdict
from convsnn.workflows.evaluate import score as scoring
from convsnn.workflows.running.resume import check, claim, early_settings, job_settings
from convsnn.workflows.running.voice import progress
from convsnn.workflows.subject.job import Method, open_job
from convsnn.workflows.subject.source import find_source
from convsnn.workflows.tune.error import Score, Split, fixed_methods, measure, scored_steps, split

JOURNAL, HISTORY, BEST = "trials.log", "history.csv", "best.json"


def tune(
    model: options.Model,
    *,
    data: options.Data = None,
    neuron: Annotated[
        str, typer.Option(help="Where to start; reference is searched where it is given.")
    ] = "msat:reference=2",
    calibrate: Annotated[
        str, typer.Option(help="Stages that set thresholds, as for convert.")
    ] = "max",
    timesteps: Annotated[int, typer.Option(help="Number of time steps.")] = 128,
    trials: Annotated[
        int,
        typer.Option(metavar=options.NUMBER, help="Settings to try, earlier ones included.", min=1),
    ] = 50,
    minutes: Annotated[
        float | None, typer.Option(help="Begin no trial after so many minutes.")
    ] = None,
    weights: options.Weights = None,
    input_shape: options.InputShape = None,
    calibration_samples: Annotated[
        int,
        typer.Option(metavar=options.NUMBER, help="Training images to set thresholds on.", min=1),
    ] = 1000,
    trial_samples: Annotated[
        int,
        typer.Option(
            metavar=options.NUMBER,
            help="Other training images to score on; as many again judge the best.",
            min=1,
        ),
    ] = 100,
    batch_size: options.BatchSize = None,
    seed: Annotated[
        int, typer.Option(metavar=options.NUMBER, help="Chooses samples and settings.", min=0)
    ] = 0,
    device: options.Device = "auto",
    scale: options.Scale = None,
    mean: options.Mean = None,
    std: options.Std = None,
    resize: options.Resize = None,
    input_layout: options.InputLayout = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Result directory [MODEL-tune]; gone on with."),
    ] = None,
    verify: options.Verify = True,
    as_json: options.Json = False,
    force: Annotated[
        bool, typer.Option("--force", help="Start anew in the directory of an earlier search.")
    ] = False,
) -> int:
    """Fit the constants of an adaptive neuron to a network and compare it with fixed thresholds.

    No test image and no label is used. The same command again goes on where it stopped.
    """
    if timesteps < 1:
        raise ConfigError(f"--timesteps must be at least 1, not {timesteps}")
    if minutes is not None and not 0 <= minutes < float("inf"):
        raise ConfigError(f"--minutes is a number of at least 0, not {minutes}")
    Method(calibrate, neuron)
    space_of(neuron)
    load_optuna()
    target = scoring.pick_device(device)
    source = find_source(model, weights=weights, input_shape=options.shape(input_shape))
    folder = output or Path(f"{source.name}-tune")
    method = {"neuron": neuron, "calibrate": calibrate, "trial_samples": trial_samples}
    early = early_settings(source, steps=timesteps, seed=seed) | method
    check(folder, early, command="tune", force=force)
    job = open_job(
        source,
        data=data,
        preprocessing=options.preprocessing(
            scale=scale, mean=mean, std=std, resize=resize, layout=input_layout
        ),
        calibration_samples=calibration_samples + 2 * trial_samples,
        batch_size=batch_size,
        seed=seed,
        device=target,
        verify=verify,
    )
    parts = split(job, trials=trial_samples)
    settings = job_settings(parts.job, steps=timesteps) | method
    claim(folder, settings, command="tune", force=force, results=(JOURNAL, HISTORY, BEST))
    study = Study(neuron, folder / JOURNAL, seed=seed)
    steps = scored_steps(timesteps)
    _search(study, parts, calibrate, steps=steps, trials=trials, minutes=minutes)
    document = _document(study, parts, calibrate, steps)
    write_text(folder / HISTORY, _history(study))
    write_text(folder / BEST, json.dumps(document, indent=2) + "\n")
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        Console().print(render_tuned(document))
        use = f"--calibrate {calibrate} --neuron {document['neuron']} --readout mean"
        print(f"\nTo use it:\n  {use}")  # unbroken
    messages().print(f"results are in {folder}/", markup=False)
    return 0


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
    note = messages()
    start = time.perf_counter()

    def objective(neuron: str) -> float | None:
        try:
            return measure(
                parts.job, Method(calibrate, neuron), parts.trials, steps=steps
            ).objective
        except (CalibrationError, SimulationError) as error:
            note.print(f"{neuron} cannot be run: {error}", style="yellow", markup=False)
            return None

    with progress("trials", trials) as advance:
        while (done := len(study.trials())) < trials:
            advance(done)
            late = minutes is not None and time.perf_counter() - start >= 60 * minutes
            if late and done:
                note.print(f"{minutes:g} minutes are over after {done} of {trials} trials")
                return
            trial = study.step(objective)
            if trial.error is not None and not note.is_terminal:  # a terminal has the bar
                found = f"error {trial.error:.4f}, best {study.best().error:.4f}"
                note.print(f"[{done + 1}/{trials}] {found}", markup=False)


def _document(study: Study, parts: Split, calibrate: str, steps: list[int]) -> dict[str, Any]:
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
        "command": scoring.command_line(),
        "neuron": best.neuron,
        "calibrate": calibrate,
        "error": best.error,
        "trials": len(study.trials()),
        "model": {"name": parts.job.source.name, "source": parts.job.source.text},
        "data": {
            use: scoring.describe_part(images.part, len(images.indices))
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
