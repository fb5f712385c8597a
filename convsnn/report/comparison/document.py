"""Several methods on one network, side by side: the document, and what is said of it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from convsnn.report.comparison.apart import best_section
from convsnn.report.comparison.ordering import order
from convsnn.report.document import Report
from convsnn.report.page.metrics import Metric, headline
from convsnn.report.page.summary import shown_steps
from convsnn.report.wording import counted, percent, significant
from convsnn.spiking.kinds import ANALOG

Comparison: TypeAlias = Mapping[str, Any]
COLUMNS = 6  # of time steps: what 100 characters have room for
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


def scored(comparison: Comparison, score: float) -> str:
    """A score as the page says it: in per cent, or as the number it is."""
    return significant(score) if comparison.get("unit") == "number" else percent(score)


def in_words(comparison: Comparison) -> str:
    """The same with its unit: Accuracy in per cent."""
    unit = "hundredths" if comparison.get("unit") == "number" else "per cent"
    return f"{named(comparison)} in {unit}"


def sends(one: Mapping[str, Any]) -> str:
    """What the network of a row sends: the kind of its spikes, or that functions make it partly
    analog; documents of an earlier version know spikes only."""
    return str(one.get("sends", one["spikes"]))


def family(one: Mapping[str, Any]) -> str:
    """What a row is ranked with: what it sends, whether it was trained, and when layers fire."""
    kind = f"{sends(one)}, trained" if one["trained"] else sends(one)
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
        if kind == ANALOG:  # of whatever kind the spikes between functions are
            named = named.replace(f"{method['spikes']} spikes", kind)
        method = {**method, "spikes": "graded", "kind": named}
    return {
        **method,
        "sends": kind if kind == ANALOG else method["spikes"],
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
        nothing: dict[str, Any] = {"ann": None, "order": None, "best": None, "graded_places": []}
        return document | {"measure": "accuracy", **nothing}
    first = next((r for r in reports if r["comparison"]["method"]["same_network"]), reports[0])
    judged, labelled = measured(first), first["snn"]["accuracy"] is not None
    samples = first["data"]["evaluation"]["samples"]
    standing = order(found, samples=samples) if labelled else None
    digits = {r["comparison"]["method"]["name"]: r["comparison"].get("right") for r in reports}
    shares = judged.name == "accuracy" or any(digits.values())
    return document | {
        "measure": judged.label,
        "unit": judged.unit,
        "ann": {**ann, "score": ann["accuracy"] if judged.name == "accuracy" else judged.ann},
        "order": None if standing is None else vars(standing) | {"notes": list(standing.notes)},
        "best": best_section(document, digits, samples=samples, shares=shares),
        "graded_places": [s["name"] for s in first["sources"] if s["kind"] == "max_pool"],
    }


def _place(one: Mapping[str, Any]) -> tuple[object, ...]:
    """Where a row stands: rows of one kind together, the best of them first."""
    kind = (
        KINDS.index(one["spikes"]),
        sends(one),
        one["trained"],
        one["schedule"] == "layers",
        one["delay"],
        one["labels"],
    )
    return *kind, -sum(one["score"].values()), one["name"]


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


def _these(titles: Sequence[str], every: Sequence[str]) -> str:
    """Some of the titles, in fewer words where they are most of `every` one."""
    others = [title for title in every if title not in titles]
    if 2 * len(others) >= len(every) or len(every) < 4:
        return ", ".join(titles)
    return f"All methods but {', '.join(others)}" if others else "All methods"


def remarks(comparison: Comparison) -> list[str]:
    """What a reader of the numbers has to know: warnings, order in the literature, graded pools."""
    warned: dict[str, list[str]] = {}
    for one in comparison["methods"]:
        for warning in one["warnings"]:
            warned.setdefault(warning, []).append(one["title"])
    titles = [one["title"] for one in comparison["methods"]]
    found = [f"{_these(these, titles)}: {warning}" for warning, these in warned.items()]
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
