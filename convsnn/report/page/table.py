"""The terminal summary: accuracy and energy over time steps, then one line per layer."""

from typing import Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from convsnn.report.document import Report, validate
from convsnn.report.page import costs
from convsnn.report.page.classes import classes_in_words
from convsnn.report.page.early_exit import early_exit_text
from convsnn.report.page.metrics import beside, grouped, headline, not_scored
from convsnn.report.page.summary import (
    by_layers,
    dead_fraction,
    expected_in_words,
    fits_in_words,
    latency_in_words,
    row,
    rows,
    shown_steps,
)
from convsnn.report.wording import counted, percent, points, significant

LAST_STEPS = 5  # columns of a table of scores in a terminal


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
        *_groups(report),
        *_estimate(report),
        _title(f"Layers after {counted(report['timesteps'], 'step')}"),
        _layers(report),
        *_notes(report),
    )


def _title(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def score_in_words(report: Report) -> str:
    """The score after the last step beside the ANN's, or agreement where there is none."""
    last, first = row(report, report["timesteps"]), headline(report)
    if first is None:
        return f"agreement with the ANN {percent(last.agreement)} ({not_scored(report)})"
    ann, unit = first.text(first.ann), "points" if first.unit == "fraction" else "hundredths"
    score = f"{first.label} {first.text(last.score)}, ANN {ann}"
    return score if last.drop is None else f"{score}, drop {points(last.drop)} {unit}"


def _heading(report: Report) -> Text:
    evaluation, last = report["data"]["evaluation"], row(report, report["timesteps"])
    where = f"{counted(evaluation['samples'], 'sample')} of {evaluation['source']}"
    steps = counted(last.step, "time step")
    doubt = report.get("doubt")
    lines = [f"Warning: {doubt}"] if doubt else []
    lines += [point] if (point := costs.point_in_words(report)) else []
    if "kind" in report:  # older reports do not say
        lines.append(f"{report['kind']} network")
    lines.append(f"{report['model']['name']}, {steps}, {where} ({evaluation['split']})")
    lines.append(score_in_words(report))
    lines += [told] if (told := expected_in_words(report)) else []
    lines.append(costs.energy_in_words(report, last.step))
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
    first, others = headline(report), beside(report)
    drop = "drop (points)" if first is None or first.unit == "fraction" else "drop (1/100)"
    columns = [first.label, drop] if first is not None else []
    columns += [metric.label for metric in others]
    table = _table("steps", *columns, "agreement", "paper", "counted", "cached")
    for at in rows(report):
        scores = [first.text(at.score), points(at.drop)] if first is not None else []
        scores += [metric.text(metric.snn[at.step - 1]) for metric in others]
        energies = (significant(e) for e in (at.paper, at.counted, at.cached))
        table.add_row(_step(report, at.step), *scores, percent(at.agreement), *energies)
    scores = [first.text(first.ann), points(0.0)] if first is not None else []
    scores += [metric.text(metric.ann) for metric in others]
    table.add_row("ANN", *scores, percent(1.0), "1", "1", "1")
    return table


def _step(report: Report, step: int) -> str:
    """The number of a step, marked where thresholds were made for it alone."""
    mark = "*" if by_layers(report) and step == report["schedule"]["calibrated_for"] else ""
    return f"{step}{mark}"


def _groups(report: Report) -> list[RenderableType]:
    """A table for scores of which there are many, at the last few of the steps shown."""
    found: list[RenderableType] = []
    steps = shown_steps(report["timesteps"])[-LAST_STEPS:]
    for name, members in grouped(report).items():
        table = _table(name, *(f"T = {step}" for step in steps), "ANN")
        for metric in members:
            values = [metric.text(metric.snn[step - 1]) for step in steps]
            table.add_row(Text(metric.label), *values, metric.text(metric.ann))
        found += [Text(), table]
    return found


def _estimate(report: Report) -> list[RenderableType]:
    """What the network costs beside others, by all sets of constants."""
    estimate = costs.estimate_of(report)
    if estimate is None:
        return []
    first = headline(report)
    scored = first is not None and (estimate["quantised"] or {}).get("bits")
    last = f"its {first.label}" if first is not None and scored else "bits"
    table = _table("steps", *costs.COLUMNS.values(), last)
    for at in costs.beside(report, shown_steps(report["timesteps"])):
        bits = f"{first.text(at.score)} ({at.bits})" if first is not None and scored else at.bits
        spans = [costs.narrow(text) for text in at.ratios.values()]
        table.add_row(_step(report, at.step), *spans, str(bits))
    return [
        _title(f"Energy as a ratio to others ({estimate['kind']}; {costs.sets_named(estimate)})"),
        table,
        Text(f"\n{costs.cheaper_in_words(report)}"),
    ]


def _layers(report: Report) -> Table:
    even = costs.break_even(report, "bit_matched")
    more = ["cheaper below"] if even else []
    table = _table("layer", "rate", *more, "SIN", "threshold", "dead")
    for number, layer in enumerate(report["layers"]):
        low, high = (significant(layer["threshold"][end]) for end in ("min", "max"))
        table.add_row(
            Text(layer["name"]),
            significant(layer["firing_rate"][-1]),
            *map(costs.narrow, even[number : number + 1]),
            percent(layer["sin_ratio"][-1]),
            low if low == high else f"{low} .. {high}",
            percent(dead_fraction(layer)),
        )
    return table


def _notes(report: Report) -> list[Text]:
    said = [text for text in report.get("warnings", ()) if text != report.get("doubt")]
    notes = [Text(f"\nWarning: {text}", style="yellow") for text in said]
    if lost := classes_in_words(report):
        notes.append(Text(f"\n{lost}"))
    if early := early_exit_text(report):
        notes.append(Text(f"\n{early}"))
    if report["sources"]:
        names = ", ".join(f"{s['name']} ({s['kind']})" for s in report["sources"])
        notes.append(Text(f"\nSends graded values, charged as multiply-accumulates: {names}"))
    signed = [layer["name"] for layer in report["layers"] if layer["kind"] == "signed"]
    if signed:
        text = f"\nSends signed spikes (-1, 0, 1), charged as additions: {', '.join(signed)}"
        notes.append(Text(text))
    if fits := fits_in_words(report):
        notes.append(Text(f"\n{fits}"))
    if by_layers(report):
        made = report["schedule"]["calibrated_for"]
        text = "\nEach row is a network run to its own last step"
        if made is not None:
            text += f"; thresholds and weights are those for T = {made} (*)"
        notes.append(Text(f"{text}. All its spikes come sorted, so max-pooling passes them on."))
    if report["not_counted"]:
        which = "paper, counted and cached" if costs.estimate_of(report) else ""
        what = f" in {which}" if which else ""
        notes.append(Text(f"\nNot counted{what}: {'; '.join(report['not_counted'])}"))
    for number, text in enumerate(costs.notes(report)):
        notes.append(Text(text if number else f"\n{text}"))
    return notes
