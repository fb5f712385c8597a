"""study.json of `convsnn train STUDY`: its table for the terminal and its HTML page."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from convsnn.errors import MissingExtraError
from convsnn.report.templating import template
from convsnn.report.training.words import words
from convsnn.report.wording import counted, percent

_COLUMNS = ("dead neurons, %", "spikes a sample", "epochs")


def _columns(document: Mapping[str, Any]) -> tuple[str, ...]:
    told = words(next(iter(document["rows"].values())))
    seen = "on training samples"
    return (told.score, seen if told.watched == told.score else f"{told.watched} {seen}", *_COLUMNS)


def lines(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A line for every row: its name, test accuracy with its interval, accuracy on training
    samples, dead neurons in training and spikes of a test sample by layer, epochs."""
    return [(label, *_line(row)) for label, row in document["rows"].items()]


def _line(row: Mapping[str, Any]) -> tuple[str, ...]:
    accuracy, runs = row["accuracy"], row["runs"]
    half = accuracy["half_interval"][-1]
    right = percent(accuracy["mean"][-1])
    interval = "" if half is None else f" +- {100 * half:.2f}"
    last = [run["epochs"][-1] for run in runs]
    trained = sum(epoch["accuracy"] for epoch in last) / len(last)
    dead = [f"{100 * value:.2f}" for value in mean_dead(row).values()]
    spikes = [f"{value:,.0f}" for value in _spikes(runs[0]).values()]
    shown = " / ".join(dead) or "-", " / ".join(spikes) or "-"
    return right + interval, percent(trained), *shown, str(len(runs[0]["epochs"]))


def mean_dead(row: Mapping[str, Any]) -> dict[str, float]:
    """By layer, the share of neurons without a spike in a batch: a mean over epochs and seeds."""
    epochs = [epoch.get("dead", {}) for run in row["runs"] for epoch in run["epochs"]]
    return {name: sum(e[name] for e in epochs) / len(epochs) for name in epochs[0]}


def _spikes(run: Mapping[str, Any]) -> dict[str, float]:
    """Spikes of all neurons of a layer for a test sample."""
    return {name: one["spikes"] for name, one in run.get("histograms", {}).items()}


def render_study(document: Mapping[str, Any]) -> RenderableType:
    """A rich renderable of a study."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("")
    for title in _columns(document):
        table.add_column(title, justify="right")
    for one in lines(document):
        table.add_row(*one)
    count = counted(len(document["rows"]), "training")
    said = f"\n{count}; dead neurons sent no spike to a batch in training, a mean over the epochs"
    return Group(Text(f"{document['name']}: {document['source']}"), table, Text(said))


def render_study_page(document: Mapping[str, Any]) -> str:
    """The document as one HTML page; MissingExtraError without jinja2 or matplotlib."""
    try:
        from convsnn.report.training import study_charts as charts
    except ImportError as error:
        raise MissingExtraError("jinja2 and matplotlib", "report") from error
    return template("study.html").render(
        d=document,
        columns=_columns(document),
        words=words(next(iter(document["rows"].values()))),
        lines=lines(document),
        accuracy_chart=charts.accuracy_chart(document),
        dead_charts=charts.layer_charts(document, "dead"),
        moved_charts=charts.layer_charts(document, "moved"),
        settled_charts=charts.layer_charts(document, "settled"),
        threshold_charts=charts.layer_charts(document, "thresholds"),
    )
