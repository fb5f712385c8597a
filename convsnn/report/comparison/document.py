"""Several methods on one network, side by side: the document, and the table for the terminal."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, TypeAlias

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from convsnn.report.comparison.ordering import order
from convsnn.report.document import Report
from convsnn.report.page.metrics import Metric, headline
from convsnn.report.page.summary import shown_steps
from convsnn.report.wording import counted, percent, significant

Comparison: TypeAlias = Mapping[str, Any]
COLUMNS = 6  # of time steps: what 100 characters have room for
WIDTH, NAME, CELL = 100, 21, 7  # characters of the table, a method's name and a column
KINDS = ("binary", "signed", "graded")


def compared_steps(total: int) -> list[int]:
    """The time steps that have a column: `total`, and before it the largest powers of 2."""
    return shown_steps(total)[-COLUMNS:]


def measured(report: Report) -> Metric:
    """What methods are ranked by: the score of their task (accuracy, F1, mIoU, R2), or agreement
    with the ANN where it has no value, as without labels."""
    found = headline(report)
    steps = compared_steps(report["timesteps"])
    if found is None or any(found.snn[step - 1] is None for step in steps):
        return Metric("agreement", "agreement", "fraction", None, report["snn"]["agreement"])
    return found


def named(comparison: Comparison) -> str:
    """What methods are ranked by, as a title begins: Accuracy, R2, mIoU."""
    measure = str(comparison["measure"])
    return measure if any(map(str.isupper, measure)) else measure.capitalize()


def in_words(comparison: Comparison) -> str:
    """The same with its unit: Accuracy in per cent."""
    unit = "hundredths" if comparison.get("unit") == "number" else "per cent"
    return f"{named(comparison)} in {unit}"


def family(one: Mapping[str, Any]) -> str:
    """What a row is ranked with: the kind of its spikes, and whether it was trained."""
    kind = f"{one['spikes']}, trained" if one["trained"] else str(one["spikes"])
    return f"{kind}, layer by layer" if one.get("schedule") == "layers" else kind


def row(report: Report, ann: Mapping[str, Any]) -> dict[str, Any]:
    """What a comparison says of one method; `report["comparison"]` describes it.

    Energy is a ratio to that of `ann`, whose section it is in the report of the compared network.
    """
    about, layers = report["comparison"], report["layers"]
    joules = report["ann"]["energy_joules"], ann["energy_joules"]
    share = joules[0] / joules[1] if joules[0] != joules[1] and joules[1] else 1.0
    neurons = sum(layer["neurons"] for layer in layers)
    steps, known = compared_steps(report["timesteps"]), report.get("schedule", {})
    columns, score = about.get("columns") or {}, list(measured(report).snn)
    at = {step: (score[step - 1], report["energy"]["counted"][step - 1]) for step in steps}
    for step, other in columns.items():  # of networks that were made for fewer steps
        at[int(step)] = other["score"], other["energy"]
    if columns:
        score = [at[step][0] if step in at else None for step in range(1, len(score) + 1)]
    method, kind = about["method"], report.get("kind", "binary")
    if kind != "binary":  # whatever the method's own neurons send
        named = method["kind"].replace("binary spikes", kind)
        method = {**method, "spikes": "graded", "kind": named}
    return {
        **method,
        "kind": method["kind"] + _late(report),
        "network": about.get("network"),  # its file, in the comparison's folder
        "readout": report["method"].get("readout", "mean"),  # the one that was chosen
        "score": {str(step): found for step, (found, _) in at.items()},
        "energy": {str(step): share * spent for step, (_, spent) in at.items()},
        "sin_ratio": sum(layer["sin_ratio"][-1] for layer in layers) / len(layers),
        "firing_rate": sum(la["neurons"] * la["firing_rate"][-1] for la in layers) / neurons,
        "calibration_seconds": about["calibration_seconds"],
        "training_seconds": about["training_seconds"],
        "simulation_seconds": report["snn"]["seconds"],
        "first_answer": known.get("first_answer", report["timesteps"]),
        "schedule": known.get("name", "steps"),
        "warnings": report.get("warnings", []),
        "scores": score,
        "each": bool(columns),  # made for every number of steps anew
    }


def column(report: Report) -> dict[str, Any]:
    """What a comparison keeps of a network that is made for one column alone."""
    energy = report["energy"]["counted"][-1]
    return {"score": measured(report).snn[-1], "energy": energy}


def _late(report: Report) -> str:
    """How late an answer comes where layers fire one after another, after the kind of a row."""
    known = report.get("schedule", {})
    if known.get("name") != "layers":
        return ""
    return (
        f" (first answer after {known['first_answer']} steps, then one every "
        f"{known['steps_per_answer']})"
    )


def compare_reports(
    reports: Sequence[Report],
    *,
    header: Mapping[str, Any],
    ann: Mapping[str, Any] | None,
    failed: Iterable[Mapping[str, Any]] = (),
    left_out: Iterable[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The document of a comparison, all from runs with the same settings.

    Methods are grouped by what their neurons send and whether they train, in each group by the
    mean score over the compared steps. `failed` have title, message and hint, `left_out` title and
    reason; `header` has what was known before the first run, and `ann` is the compared network's
    section of a report, None where there are no `reports`.
    """
    found = [] if ann is None else [row(report, ann) for report in reports]
    found.sort(key=_place)
    document = {**header, "methods": found, "failed": list(failed), "left_out": list(left_out)}
    if ann is None:
        return document | {"measure": "accuracy", "ann": None, "order": None, "graded_places": []}
    first = next((r for r in reports if r["comparison"]["method"]["same_network"]), reports[0])
    judged, labelled = measured(first), first["snn"]["accuracy"] is not None
    standing = order(found, samples=first["data"]["evaluation"]["samples"]) if labelled else None
    return document | {
        "measure": judged.label,
        "unit": judged.unit,
        "ann": {**ann, "score": ann["accuracy"] if judged.name == "accuracy" else judged.ann},
        "order": None if standing is None else vars(standing) | {"notes": list(standing.notes)},
        "graded_places": [s["name"] for s in first["sources"] if s["kind"] == "max_pool"],
    }


def _place(one: Mapping[str, Any]) -> tuple[object, ...]:
    """Where a row stands: rows of one kind together, the best of them first."""
    kind = KINDS.index(one["spikes"]), one["trained"], one["delay"], one["labels"]
    return *kind, -sum(one["score"].values()), one["name"]


def best_row(comparison: Comparison) -> Mapping[str, Any] | None:
    """The row with the best score after the last step, of equals the one that costs least."""
    last = str(comparison["timesteps"])
    return max(
        comparison["methods"],
        key=lambda one: (one["score"][last], -one["energy"][last]),
        default=None,
    )


def ann_score(comparison: Comparison) -> float | None:
    """The original's own score, None where methods are ranked by agreement with it; documents of
    an earlier version have its accuracy."""
    ann = comparison["ann"]
    return None if ann is None else ann.get("score", ann["accuracy"])


def heading(comparison: Comparison) -> str:
    """What was compared, in one sentence without numbers of results."""
    where, precision = comparison["data"]["evaluation"], comparison.get("precision", "float32")
    return (
        f"{comparison['model']['name']}, {counted(comparison['timesteps'], 'time step')}, "
        f"{counted(where['samples'], 'sample')} of {where['source']} ({where['split']})"
    ) + ("" if precision == "float32" else f", simulated in {precision}")


def remarks(comparison: Comparison) -> list[str]:
    """What a reader of the numbers has to know: warnings, order in the literature, graded pools."""
    warned: dict[str, list[str]] = {}
    for one in comparison["methods"]:
        for warning in one["warnings"]:
            warned.setdefault(warning, []).append(one["title"])
    found = [f"{', '.join(titles)}: {warning}" for warning, titles in warned.items()]
    anew = [one["title"] for one in comparison["methods"] if one.get("each")]
    if anew:
        found.append(f"Made anew for each of these numbers of steps: {', '.join(anew)}.")
    if comparison["order"] is not None:
        standing = comparison["order"]
        pairs = standing["alike"] + standing["close"] + standing["opposite"]
        if pairs:
            found.append(
                f"Of {counted(pairs, 'pair')} of methods that the literature puts in order, "
                f"{standing['alike']} stand so here, {standing['close']} are too close to tell on "
                f"these samples, {standing['opposite']} stand the other way round."
            )
        found += standing["notes"]
    if comparison["graded_places"]:
        places = ", ".join(comparison["graded_places"])
        found.append(f"Max-pooling sends graded values with every method: {places}.")
    return found


def render_comparison(comparison: Comparison, *, width: int = WIDTH) -> RenderableType:
    """A rich renderable of `width` characters, without colour.

    Below 100 it has fewer columns, never fewer than those of the steps, and says which are not
    there.
    """
    lines = [heading(comparison)]
    best = ann_score(comparison)
    if best is not None:
        lines.append(f"{comparison['measure']} of the ANN {percent(best)}")
    parts: list[RenderableType] = [Text("\n".join(lines))]
    if comparison["methods"]:
        parts += _methods(comparison, width)
    for one in comparison["failed"]:
        hint = f" ({one['hint']})" if one["hint"] else ""
        parts.append(Text(f"\nfailed: {one['title']}: {one['message']}{hint}", style="red"))
    for one in comparison["left_out"]:
        parts.append(Text(f"\nleft out: {one['title']}: {one['reason']}", style="yellow"))
    parts += [Text(f"\n{remark}") for remark in remarks(comparison)]
    return Group(*parts)


def _methods(comparison: Comparison, width: int) -> list[RenderableType]:
    """A table for each kind of method, all with the same widths, and what their columns mean."""
    title = f"\n{in_words(comparison)} after so many steps"
    parts: list[RenderableType] = [Text(title, style="bold")]
    fits = max(len(compared_steps(comparison["timesteps"])), (width - NAME) // CELL)
    longest = max(len(one["title"]) for one in comparison["methods"])
    hidden: list[str] = []
    for kind in dict.fromkeys(one["kind"] for one in comparison["methods"]):
        columns = list(_columns(comparison, kind).items())
        hidden += [column for column, _ in columns[fits:]]
        name = max(NAME, min(longest, width - 1 - CELL * len(columns[:fits])))
        parts += [Text(f"{kind}:", style="italic"), _table(comparison, kind, columns[:fits], name)]
    trained = any(one["trained"] for one in comparison["methods"])
    legend = (
        f"energy: counted, ANN = 1, after {comparison['timesteps']} steps; SIN: mean of the "
        "layers; rate: spikes per neuron and step; calib., "
        f"{'train., ' if trained else ''}simul.: seconds"
    )
    parts.append(Text(legend, style="dim"))
    best = best_row(comparison)
    if best is not None and best["network"] is not None:
        place = PurePath(comparison["folder"], best["network"])
        steps = counted(comparison["timesteps"], "step")
        parts.append(Text(f"best after {steps}: {best['title']}, kept in {place}"))
    if hidden:
        names = ", ".join(dict.fromkeys(hidden))
        parts.append(Text(f"not shown, for want of width: {names} (the page has them)"))
    return parts


def _columns(comparison: Comparison, kind: str) -> dict[str, list[str]]:
    """Columns behind the name, the most telling first, for the methods of one kind.

    What was trained has the seconds of its training where the others have those of calibration.
    """
    steps = list(map(str, compared_steps(comparison["timesteps"])))
    rows = [one for one in comparison["methods"] if one["kind"] == kind]
    made = "training" if rows[0]["trained"] else "calibration"
    return {
        **{step: [f"{100 * one['score'][step]:.2f}" for one in rows] for step in steps},
        "energy": [significant(one["energy"][steps[-1]]) for one in rows],
        "SIN %": [f"{100 * one['sin_ratio']:.2f}" for one in rows],
        "rate": [significant(one["firing_rate"], 2) for one in rows],
        f"{made[:5]}.": [seconds(one[f"{made}_seconds"]) for one in rows],
        "simul.": [seconds(one["simulation_seconds"]) for one in rows],
    }


def _table(
    comparison: Comparison, kind: str, columns: Sequence[tuple[str, Sequence[str]]], name: int
) -> Table:
    """The methods of one kind; `name` is the width of their names, which fold."""
    titles = [one["title"] for one in comparison["methods"] if one["kind"] == kind]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("method", width=name, overflow="fold")
    for column, _ in columns:
        table.add_column(column, justify="right", no_wrap=True, min_width=CELL - 1)
    for title, *cells in zip(titles, *(cells for _, cells in columns), strict=True):
        table.add_row(Text(title), *cells)
    return table


def seconds(value: float | None) -> str:
    """A time in seconds: one decimal below ten, none above; a dash for None."""
    if value is None:
        return "-"
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"
