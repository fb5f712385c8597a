"""The terminal summary: accuracy and energy over time steps, then one line per layer."""

from typing import Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from convsnn.report.document import Report, validate
from convsnn.report.page.early_exit import early_exit_text
from convsnn.report.page.summary import by_layers, dead_fraction, latency_in_words, row, rows
from convsnn.report.wording import counted, percent, points, significant


def render_table(report: Report) -> RenderableType:
    """A rich renderable of `report`; ExportError where the report does not fit its schema.

    It needs 80 columns and no colour: names fold, nothing depends on style.
    """
    validate(report)
    return Group(
        _heading(report),
        _title(
            "A network for each number of steps; energy as a ratio to the ANN"
            if by_layers(report)
            else "Over time steps; energy as a ratio to the ANN"
        ),
        _steps(report),
        _title(f"Layers after {counted(report['timesteps'], 'step')}"),
        _layers(report),
        *_notes(report),
    )


def _title(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def score_in_words(report: Report) -> str:
    """Accuracy after the last step beside the ANN's, or agreement where there are no labels."""
    last = row(report, report["timesteps"])
    if last.accuracy is None:
        return f"agreement with the ANN {percent(last.agreement)} (no labels)"
    ann = percent(report["ann"]["accuracy"])
    return f"accuracy {percent(last.accuracy)}, ANN {ann}, drop {points(last.drop)} points"


def _heading(report: Report) -> Text:
    evaluation, last = report["data"]["evaluation"], row(report, report["timesteps"])
    where = f"{counted(evaluation['samples'], 'sample')} of {evaluation['source']}"
    steps = counted(last.step, "time step")
    lines = [f"{report['model']['name']}, {steps}, {where} ({evaluation['split']})"]
    lines.append(score_in_words(report))
    lines.append(f"energy {significant(last.counted)} times the ANN's (counted)")
    if report["method"].get("readout", "mean") != "mean":
        lines.append(f"read out by '{report['method']['readout']}'")
    if late := latency_in_words(report):
        lines.append(late)
    if report["precision"] != "float32":
        lines.append(f"simulated in {report['precision']}")
    return Text("\n".join(lines))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        left = number == 0
        justify: Literal["left", "right"] = "left" if left else "right"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=not left)
    return table


def _steps(report: Report) -> Table:
    labelled = report["ann"]["accuracy"] is not None
    accuracy = ("accuracy", "drop (points)") if labelled else ()
    table = _table(
        "steps", *accuracy, "agreement", "paper", "counted", "cached",
    )  # fmt: skip
    for at in rows(report):
        scores = (percent(at.accuracy), points(at.drop)) if labelled else ()
        energies = (significant(e) for e in (at.paper, at.counted, at.cached))
        table.add_row(_step(report, at.step), *scores, percent(at.agreement), *energies)
    scores = (percent(report["ann"]["accuracy"]), points(0.0)) if labelled else ()
    table.add_row("ANN", *scores, percent(1.0), "1", "1", "1")
    return table


def _step(report: Report, step: int) -> str:
    """The number of a step, marked where thresholds were made for it alone."""
    mark = "*" if by_layers(report) and step == report["schedule"]["calibrated_for"] else ""
    return f"{step}{mark}"


def _layers(report: Report) -> Table:
    table = _table("layer", "rate", "SIN", "threshold", "dead")
    for layer in report["layers"]:
        low, high = (significant(layer["threshold"][end]) for end in ("min", "max"))
        table.add_row(
            Text(layer["name"]),
            significant(layer["firing_rate"][-1]),
            percent(layer["sin_ratio"][-1]),
            low if low == high else f"{low} .. {high}",
            percent(dead_fraction(layer)),
        )
    return table


def _notes(report: Report) -> list[Text]:
    notes = [Text(f"\nWarning: {text}", style="yellow") for text in report.get("warnings", ())]
    if early := early_exit_text(report):
        notes.append(Text(f"\n{early}"))
    if report["sources"]:
        names = ", ".join(f"{s['name']} ({s['kind']})" for s in report["sources"])
        notes.append(Text(f"\nSends graded values, charged as multiply-accumulates: {names}"))
    signed = [layer["name"] for layer in report["layers"] if layer["kind"] == "signed"]
    if signed:
        text = f"\nSends signed spikes (-1, 0, 1), charged as additions: {', '.join(signed)}"
        notes.append(Text(text))
    if by_layers(report):
        made = report["schedule"]["calibrated_for"]
        text = "\nEach row is a network run to its own last step"
        if made is not None:
            text += f"; thresholds and weights are those for T = {made} (*)"
        notes.append(Text(f"{text}. All its spikes come sorted, so max-pooling passes them on."))
    if report["not_counted"]:
        notes.append(Text(f"\nNot counted: {'; '.join(report['not_counted'])}"))
    return notes
