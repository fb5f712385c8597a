"""`convsnn figures`: the figures 2 to 5 of MSAT, drawn again for any network.

Five conversions are run (see `convsnn.report.figures`). The report of each is kept in the output
directory, so that a stopped run goes on where it was, and the pictures can be drawn again at once.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from convsnn.commands import options, scoring
from convsnn.commands.job import Job, Method, open_job
from convsnn.commands.source import find_source
from convsnn.errors import ConfigError, ExportError, LoadError
from convsnn.neurons import NEURONS
from convsnn.neurons.msat import Msat
from convsnn.registry import split_spec
from convsnn.report.document import to_json, validate
from convsnn.report.figures import RUNS, draw_figures, render_figures, standalone
from convsnn.report.files import write_text

SETTINGS = "figures.json"


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


@dataclass(frozen=True)
class _Folder:
    """The output directory: `settings` say what its reports belong to."""

    path: Path
    settings: Mapping[str, Any]

    def open(self, *, force: bool) -> None:
        """Make it, or check that what is there belongs to the same settings; ConfigError."""
        known = self._known()
        if known == self.settings:
            return
        if known is not None and force:
            for name in RUNS:
                (self.path / f"{name}.json").unlink(missing_ok=True)
        elif known is not None:
            changed = [key for key in self.settings if known.get(key) != self.settings[key]]
            raise ConfigError(
                f"'{self.path}' holds figures made with other settings: {', '.join(changed)}",
                hint="choose another name, or start again with --force",
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ExportError(f"cannot make '{self.path}': {error.strerror or error}") from error
        write_text(self.path / SETTINGS, to_json(self.settings))

    def _known(self) -> Mapping[str, Any] | None:
        if not self.path.exists():
            return None
        if not self.path.is_dir():
            raise ConfigError(f"'{self.path}' exists and is not a directory")
        try:
            text = (self.path / SETTINGS).read_text("utf-8")
        except FileNotFoundError:
            if any(self.path.iterdir()):
                raise ConfigError(
                    f"the directory '{self.path}' is not empty and holds no figures",
                    hint="choose another name",
                ) from None
            return None
        except (OSError, ValueError) as error:
            raise LoadError(f"cannot read '{self.path / SETTINGS}': {error}") from None
        try:
            known = json.loads(text)
        except ValueError:
            known = None
        return known if isinstance(known, dict) else {}

    def report(self, name: str) -> dict[str, Any] | None:
        """The report of an earlier run, if it is there and whole."""
        try:
            found: dict[str, Any] = json.loads((self.path / f"{name}.json").read_text("utf-8"))
            validate(found)
        except (OSError, ValueError, ExportError):  # made again
            return None
        return found


def figures(
    model: options.Model,
    *,
    data: options.Data = None,
    timesteps: Annotated[int, typer.Option(help="Number of time steps.", min=1)] = 64,
    neuron: Annotated[
        str, typer.Option(help="The constants: msat:set=vgg16 or resnet20 as published.")
    ] = "msat:reference=2",
    confidence: Annotated[
        str, typer.Option(help="The stage that sets spike confidence.")
    ] = "confidence",
    weights: options.Weights = None,
    input_shape: options.InputShape = None,
    samples: options.Samples = None,
    calibration_samples: Annotated[
        int, typer.Option(help="Training images to calibrate on.", min=1)
    ] = 1000,
    batch_size: options.BatchSize = None,
    seed: Annotated[int, typer.Option(help="Chooses samples and random spikes.", min=0)] = 0,
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
        bool, typer.Option("--force", help="Start again where the settings changed.")
    ] = False,
) -> int:
    """Redraw the figures 2 to 5 of MSAT for a network; goes on where it was stopped."""
    plans = methods(neuron, confidence)
    target = scoring.pick_device(device)
    source = find_source(model, weights=weights, input_shape=input_shape)
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
    folder = _Folder(
        output or Path(f"{source.name}-figures"),
        {
            "schema": 1,
            "model": source.text,
            "sha256": source.sha256,
            "data": job.spec,
            "preprocessing": job.preprocessing,
            "methods": {name: method.to_json() for name, method in plans.items()},
            "timesteps": timesteps,
            "samples": samples,
            "calibration_samples": calibration_samples,
            "seed": seed,
        },
    )
    folder.open(force=force)
    reports = {
        name: _report(folder, job, name, plans[name], steps=timesteps, samples=samples)
        for name in RUNS
    }
    _draw(folder, reports)
    return 0


def _report(
    folder: _Folder, job: Job, name: str, method: Method, *, steps: int, samples: int | None
) -> dict[str, Any]:
    """The report of one run: the one that is kept, or that of a new conversion."""
    note = Console(stderr=True, highlight=False)
    text = f"{name}: {method.calibrate}, {method.neuron}"
    kept = folder.report(name)
    if kept is not None:
        note.print(f"{text} (kept from before)", markup=False)
        return kept
    note.print(text, markup=False)
    net = job.convert(method, steps=steps, samples=samples)
    report = job.score(net, steps=steps, samples=samples)
    for warning in report["warnings"]:
        note.print(f"warning: {warning}", style="yellow", markup=False)
    write_text(folder.path / f"{name}.json", to_json(report))
    return report


def _draw(folder: _Folder, reports: Mapping[str, Mapping[str, Any]]) -> None:
    drawings = draw_figures(reports)
    for name, drawing in drawings.items():
        write_text(folder.path / f"{name}.svg", standalone(drawing))
    settings = {**folder.settings, "command": scoring.command_line()}
    page = folder.path / "figures.html"
    write_text(page, render_figures(reports, drawings, settings))
    print(page)
