"""Runs the five conversions that the figures show (see `convsnn.report.figures.page`) and draws.

The report of each is kept in the directory, so that a stopped run goes on where it was, and the
pictures can be drawn again at once.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Unpack

from convsnn.errors import ConfigError, ExportError, MissingExtraError
from convsnn.neurons import NEURONS
from convsnn.neurons.msat import Msat
from convsnn.registry import split_spec
from convsnn.report.document import to_json, validate
from convsnn.report.figures.page import RUNS, draw_figures, render_figures, standalone
from convsnn.report.figures.sheets import figure_sheets
from convsnn.report.files import write_text
from convsnn.report.sheets import Sheet
from convsnn.workflows.compare.runs import settings_of
from convsnn.workflows.running.result import Tabled
from convsnn.workflows.running.resume import check, claim, early_settings
from convsnn.workflows.running.voice import command_line, note, warn
from convsnn.workflows.subject.given import Images
from convsnn.workflows.subject.job import Job
from convsnn.workflows.subject.method import Method
from convsnn.workflows.subject.opening import Subject, opened
from convsnn.workflows.subject.reading import Reading, subject_of

PAGE = "figures.html"
RESULTS = (PAGE, *(f"{name}.json" for name in RUNS))


@dataclass(frozen=True)
class Drawn(Tabled):
    """The figures by name, each an `<svg>` element, the reports of the runs behind them, and where
    all of it is."""

    drawings: Mapping[str, str]
    reports: Mapping[str, Mapping[str, Any]]
    folder: Path

    @property
    def page(self) -> Path:
        """The page with all figures."""
        return self.folder / PAGE

    def sheets(self) -> Sequence[Sheet]:
        """See `Tabled`."""
        return figure_sheets(self.reports)

    def __repr__(self) -> str:
        return f"Drawn({', '.join(self.drawings)}, in {self.page})"

    def _repr_html_(self) -> str:
        return "\n".join(self.drawings.values())


def figures(
    subject: Subject,
    data: Images | str | None = None,
    *,
    test: Images | str | None = None,
    timesteps: int = 64,
    neuron: str = "msat:reference=2",
    confidence: str = "confidence",
    samples: int | None = None,
    folder: str | Path | None = None,
    force: bool = False,
    **reading: Unpack[Reading],
) -> Drawn:
    """Convert in the five ways of the figures with the constants of `neuron`, score on `samples`
    test images (None: all) and draw, all in `folder` (default: NAME-figures).

    `subject`, `data`, `test` and `reading` are what `convsnn.compare` takes.

    `confidence` is the stage that sets spike confidence. Raises ConfigError where `neuron` is not
    msat with both parts of its threshold, or where other settings' results are in `folder` (unless
    `force`), MissingExtraError where drawing needs a package that is not there.
    """
    if timesteps < 1:
        raise ConfigError(f"--timesteps must be at least 1, not {timesteps}")
    plans = methods(neuron, confidence)
    require_drawing()
    asked = subject_of(figures, subject, data, test, reading=reading)
    folder = Path(folder or f"{asked.source.name}-figures")
    conversions = {"methods": {name: method.to_json() for name, method in plans.items()}}
    early = early_settings(asked.source, steps=timesteps, seed=asked.seed) | conversions
    check(folder, early, command="figures", force=force)
    job = opened(asked, frames=timesteps)
    settings = settings_of(job, steps=timesteps, samples=samples) | conversions
    claim(folder, settings, command="figures", force=force, results=RESULTS)
    reports = {
        name: _report(folder, job, name, plans[name], steps=timesteps, samples=samples)
        for name in RUNS
    }
    return _draw(folder, reports)


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


def _report(
    folder: Path, job: Job, name: str, method: Method, *, steps: int, samples: int | None
) -> Mapping[str, Any]:
    """The report of one run: the one that is kept, or that of a new conversion."""
    text = f"{name}: {method.calibrate}, {method.neuron}"
    path = folder / f"{name}.json"
    kept = _kept(path)
    if kept is not None:
        note(f"{text} (kept from before)")
        return kept
    note(text)
    net = job.convert(method, steps=steps, samples=samples)
    report = job.score(net, steps=steps, samples=samples)
    for warning in report["warnings"]:
        warn(f"warning: {warning}")
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


def _draw(folder: Path, reports: Mapping[str, Mapping[str, Any]]) -> Drawn:
    drawn = Drawn(draw_figures(reports), reports, folder)
    for name, drawing in drawn.drawings.items():
        write_text(folder / f"{name}.svg", standalone(drawing))
    about = {"command": command_line()}
    write_text(drawn.page, render_figures(reports, drawn.drawings, about))
    return drawn
