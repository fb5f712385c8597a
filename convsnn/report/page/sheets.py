"""The tables of a report as CSV: every scored step, the layers, the estimate, scores in groups,
classes."""

from collections.abc import Mapping
from typing import Any

from convsnn.report.document import Report
from convsnn.report.page import costs
from convsnn.report.page.classes import class_name
from convsnn.report.page.metrics import Metric, metrics
from convsnn.report.page.summary import dead_fraction, row
from convsnn.report.sheets import ACTIVATION, FRACTION, RATE, RATIO, Sheet

_LAYER = {
    "name": "",
    "kind": "",
    "neurons": "",
    "firing_rate": RATE,
    "sin_ratio": FRACTION,
    "threshold.min": ACTIVATION,
    "threshold.mean": ACTIVATION,
    "threshold.max": ACTIVATION,
    "dead_fraction": FRACTION,
    "synaptic_operations": "per sample",
}
_ENDS = ("low", "high")
_BASELINE = "bit_matched"
_BREAK_EVEN = tuple(f"break_even.{_BASELINE}.{end}" for end in _ENDS)


def report_sheets(report: Report) -> list[Sheet]:
    """All of them, that of the steps first; those that a report has nothing for are left out."""
    found = [_steps(report), _layers(report)]
    if costs.estimate_of(report) is not None:
        found.append(_estimate(report))
    if any(metric.group for metric in metrics(report)):
        found.append(_groups(report))
    if report.get("classes") is not None:
        found += [_classes(report["classes"]), _confused(report["classes"])]
    return found


def scored_steps(report: Report) -> list[int]:
    """The steps that have a result: layer by layer not every number of them was run."""
    known = enumerate(report["snn"]["agreement"], start=1)
    return [step for step, value in known if value is not None]


def _unit(metric: Metric) -> str:
    return FRACTION if metric.unit == "fraction" else ""


def _steps(report: Report) -> Sheet:
    own = [metric for metric in metrics(report) if not metric.group]
    columns = {"step": ""}
    for metric in own:
        columns |= {metric.name: _unit(metric), f"ann.{metric.name}": _unit(metric)}
    columns |= {"drop": _unit(own[0])} if own else {}
    columns |= {"agreement": FRACTION}
    columns |= {f"energy.{form}": RATIO for form in report["energy"]}
    rows = []
    for step in scored_steps(report):
        at = row(report, step)
        scores: dict[str, Any] = {metric.name: metric.snn[step - 1] for metric in own}
        scores |= {f"ann.{metric.name}": metric.ann for metric in own}
        energies = {f"energy.{form}": values[step - 1] for form, values in report["energy"].items()}
        rows.append(
            {"step": step, **scores, "drop": at.drop, "agreement": at.agreement, **energies}
        )
    return Sheet("steps", columns, rows)


def _layers(report: Report) -> Sheet:
    """After the last step; with an estimate, below which rate a layer would be cheaper."""
    estimate = costs.estimate_of(report)
    columns, rows = dict(_LAYER), []
    if estimate is not None:
        columns |= dict.fromkeys(_BREAK_EVEN, RATE)
    for number, layer in enumerate(report["layers"]):
        last = {key: layer[key][-1] for key in ("firing_rate", "sin_ratio", "synaptic_operations")}
        thresholds = {f"threshold.{end}": value for end, value in layer["threshold"].items()}
        known = {key: layer[key] for key in ("name", "kind", "neurons")}
        known |= {**last, **thresholds, "dead_fraction": dead_fraction(layer)}
        if estimate is not None:
            rates = estimate["layers"][number]["break_even"][_BASELINE].values()
            found = [rate for rate in rates if rate is not None]
            ends = (min(found), max(found)) if found else (None, None)
            known |= dict(zip(_BREAK_EVEN, ends, strict=True))
        rows.append(known)
    return Sheet("layers", columns, rows)


def _estimate(report: Report) -> Sheet:
    """The network's energy over that of others: from the least to the most of all constants."""
    estimate: Mapping[str, Any] = costs.estimate_of(report) or {}
    known = {name: found for name, found in estimate["ratios"].items() if found is not None}
    columns = {"step": ""} | {
        f"ratios.{name}.{end}": f"{name} = 1" for name in known for end in _ENDS
    }
    scores = (estimate["quantised"] or {}).get("bits", {})
    columns |= {"bit_matched.bits": "bits", "bit_matched.score": ""}
    rows = []
    for step in scored_steps(report):
        bits = estimate["bit_matched"]["bits"][step - 1]
        ratios = {
            f"ratios.{name}.{end}": found[end][step - 1]
            for name, found in known.items()
            for end in _ENDS
        }
        about = {"bit_matched.bits": bits, "bit_matched.score": scores.get(str(bits))}
        rows.append({"step": step, **ratios, **about})
    return Sheet("estimate", columns, rows)


def _groups(report: Report) -> Sheet:
    """Scores of which there are many, like the F1 of each label, at every step."""
    columns = dict.fromkeys(("group", "name", "label", "unit", "step", "snn", "ann"), "")
    rows = [
        {
            "group": metric.group,
            "name": metric.name,
            "label": metric.label,
            "unit": metric.unit,
            "step": step,
            "snn": metric.snn[step - 1],
            "ann": metric.ann,
        }
        for metric in metrics(report)
        if metric.group
        for step in scored_steps(report)
    ]
    return Sheet("groups", columns, rows)


def _classes(section: Mapping[str, Any]) -> Sheet:
    """Accuracy by class; one without samples has none."""
    columns = {"class": "", "name": "", "samples": "", "ann": FRACTION, "snn": FRACTION}
    values = zip(section["samples"], section["ann"], section["snn"], strict=True)
    rows = [
        {
            "class": number,
            "name": class_name(section, number),
            "samples": samples,
            "ann": ann,
            "snn": snn,
        }
        for number, (samples, ann, snn) in enumerate(values)
    ]
    return Sheet("classes", columns, rows)


def _confused(section: Mapping[str, Any]) -> Sheet:
    """How often what was answered for which class: all of it, or of many classes the most confused
    pairs."""
    rows = [
        {"network": network, "label": label, "answer": answer, "samples": samples}
        for network, table in section["confusion"].items()
        for label, line in enumerate(table or ())
        for answer, samples in enumerate(line)
    ]
    rows = rows or [
        {"network": network, **pair}
        for network, pairs in section["confused"].items()
        for pair in pairs
    ]
    return Sheet("confusion", dict.fromkeys(("network", "label", "answer", "samples"), ""), rows)
