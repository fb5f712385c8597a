"""finetuning.json: a network before and after training for few steps, and how that went.

    schema, convsnn, command, model, timesteps
    data {training {source, split, samples, augment}, evaluation {source, split, samples}}
    training                        method, epochs, updates, seconds and every setting
    score {name, label, unit, ann}  what before and after are compared by; agreement has no `ann`
    before, after {score: [T], agreement: [T], energy: [T]}     null for steps that were not run
    layers [{name, threshold {before, after}, firing_rate {before, after}}]
                                    thresholds {min, mean, max}, rates after the last step
    epochs [{number, loss, accuracy, held_out, learning_rate, seconds, thresholds {}, rates {} ...}]

Energy is counted, as a ratio to the original's; the scores are of the same test images.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from convsnn.report.document import Report
from convsnn.report.page.assemble import versions
from convsnn.report.page.metrics import Metric, headline


def finetuning(
    before: Report, after: Report, *, training: Mapping[str, Any], epochs: Sequence[Any]
) -> dict[str, Any]:
    """The document, from the reports on the network before and after; `training` says where the
    images came from, and how they were changed."""
    first = _compared(after)
    return {
        "schema": 1,
        "convsnn": versions()["convsnn"],
        "command": after["command"],
        "model": after["model"],
        "timesteps": after["timesteps"],
        "data": {"training": dict(training), "evaluation": after["data"]["evaluation"]},
        "training": after["method"]["training"],
        "score": {"name": first.name, "label": first.label, "unit": first.unit, "ann": first.ann},
        "before": _curves(before),
        "after": _curves(after),
        "layers": [
            {
                "name": old["name"],
                "threshold": {"before": old["threshold"], "after": new["threshold"]},
                "firing_rate": {"before": old["firing_rate"][-1], "after": new["firing_rate"][-1]},
            }
            for old, new in zip(before["layers"], after["layers"], strict=True)
        ],
        "epochs": list(epochs),
        "versions": after["versions"],
    }


def _compared(report: Report) -> Metric:
    """The score of the task, or agreement where there is none."""
    first = headline(report)
    return first or Metric("agreement", "agreement", "fraction", None, report["snn"]["agreement"])


def _curves(report: Report) -> dict[str, Any]:
    return {
        "score": list(_compared(report).snn),
        "agreement": list(report["snn"]["agreement"]),
        "energy": list(report["energy"]["counted"]),
    }


def scored_steps(document: Mapping[str, Any]) -> list[int]:
    """The steps at which both networks were run, counted from 1."""
    pairs = zip(document["before"]["score"], document["after"]["score"], strict=True)
    return [step for step, pair in enumerate(pairs, start=1) if None not in pair]
