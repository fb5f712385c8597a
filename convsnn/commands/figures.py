"""`convsnn figures`: the figures 2 to 5 of MSAT, drawn again for any network.

Five conversions are run (see `convsnn.report.figures.page`). The report of each is kept in the
output directory, so that a stopped run goes on where it was, and the pictures can be drawn again at
once.
"""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from convsnn.commands import options
from convsnn.commands.terminal import messages
from convsnn.errors import ConfigError, ExportError, MissingExtraError
from convsnn.neurons import NEURONS
from convsnn.neurons.msat import Msat
from convsnn.registry import split_spec
from convsnn.report.document import to_json, validate
from convsnn.report.figures.page import RUNS, draw_figures, render_figures, standalone
from convsnn.report.files import write_text
from convsnn.workflows.compare.runs import settings_of
from convsnn.workflows.evaluate import score as scoring
from convsnn.workflows.running.resume import check, claim, early_settings
from convsnn.workflows.subject.job import Job, Method, open_job
from convsnn.workflows.subject.source import find_source

PAGE = "figures.html"
RESULTS = (PAGE, *(f"{name}.json" for name in RUNS))


def methods(neuron: str, confidence: str) -> dict[str, Method]:
    """The conversion behind each of `RUNS`; ConfigError where `neuron` is no plain msat."""
    made = NEURONS.create(neuron, threshold=1.0)
    given = split_spec(neuron)[1]
    if not isinstance(made, Msat) or {"dtt", "det", "confidence"} & given.keys():
        raise ConfigError(
            f"--neuron {neuron} cannot be drawn: it must be msat with both parts of the threshold",
            hint="like msat:reference=2, or msat:set=resnet20 for the published constants",
        )
    evoked = f"{neuron}{',' if given else ':'}dtt=false"
    return {
        "fixed": Method("max"),
        "lower": Method("max:factor=0.7"),
        "evoked": Method("max", evoked),
        "dynamic": Method("max", neuron),
        "confidence": Method(f"max+{confidence}", neuron),
    }


def require_drawing() -> None:
    """MissingExtraError where a package that pictures or page need is not installed."""
    for package in ("matplotlib", "jinja2"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "report")


def figures(
    model: options.Model,
    *,
    data: options.Data = None,
    timesteps: Annotated[
        int, typer.Option(metavar=options.NUMBER, help="Number of time steps.", min=1)
    ] = 64,
    neuron: Annotated[
        str, typer.Option(help="The constants: msat:set=vgg16 or resnet20 as published.")
    ] = "msat:reference=2",
    confidence: Annotated[
        str, typer.Option(help="The stage that sets spike confidence.")
    ] = "confidence",
    weights: options.Weights = None,
    input_shape: options.InputShape = None,
    samples: options.Samples = None,
    calibration_samples: options.CalibrationSamples = 1000,
    batch_size: options.BatchSize = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    scale: options.Scale = None,
    mean: options.Mean = None,
    std: options.Std = None,
    resize: options.Resize = None,
    input_layout: options.InputLayout = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Directory [MODEL-figures].")
    ] = None,
    verify: options.Verify = True,
    force: Annotated[
        bool, typer.Option("--force", help="Start anew in the directory of earlier figures.")
    ] = False,
) -> int:
    """Redraw the figures 2 to 5 of MSAT for a network; goes on where it was stopped."""
    plans = methods(neuron, confidence)
    require_drawing()
    target = scoring.pick_device(device)
    source = find_source(model, weights=weights, input_shape=options.shape(input_shape))
    folder = output or Path(f"{source.name}-figures")
    conversions = {"methods": {name: method.to_json() for name, method in plans.items()}}
    early = early_settings(source, steps=timesteps, seed=seed) | conversions
    check(folder, early, command="figures", force=force)
    job = open_job(
        source,
        data=data,
        preprocessing=options.preprocessing(
            scale=scale, mean=mean, std=std, resize=resize, layout=input_layout
        ),
        calibration_samples=calibration_samples,
        batch_size=batch_size,
        seed=seed,
        device=target,
        verify=verify,
    )
    settings = settings_of(job, steps=timesteps, samples=samples) | conversions
    claim(folder, settings, command="figures", force=force, results=RESULTS)
    reports = {
        name: _report(folder, job, name, plans[name], steps=timesteps, samples=samples)
        for name in RUNS
    }
    _draw(folder, reports)
    return 0


def _report(
    folder: Path, job: Job, name: str, method: Method, *, steps: int, samples: int | None
) -> dict[str, Any]:
    """The report of one run: the one that is kept, or that of a new conversion."""
    note = messages()
    text = f"{name}: {method.calibrate}, {method.neuron}"
    path = folder / f"{name}.json"
    kept = _kept(path)
    if kept is not None:
        note.print(f"{text} (kept from before)", markup=False)
        return kept
    note.print(text, markup=False)
    net = job.convert(method, steps=steps, samples=samples)
    report = job.score(net, steps=steps, samples=samples)
    for warning in report["warnings"]:
        note.print(f"warning: {warning}", style="yellow", markup=False)
    write_text(path, to_json(report))
    return report


def _kept(path: Path) -> dict[str, Any] | None:
    """The report of an earlier run, if it is there and whole."""
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        validate(found)
    except (OSError, ValueError, RecursionError, ExportError):  # made again
        return None
    return found


def _draw(folder: Path, reports: Mapping[str, Mapping[str, Any]]) -> None:
    drawings = draw_figures(reports)
    for name, drawing in drawings.items():
        write_text(folder / f"{name}.svg", standalone(drawing))
    page = folder / PAGE
    write_text(page, render_figures(reports, drawings, {"command": scoring.command_line()}))
    print(page)
    note = f"the drawings are in {folder}/ (open {PAGE})"
    messages().print(note, markup=False)
