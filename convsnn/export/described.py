"""What an exported file says of itself, as texts by key: whoever runs it elsewhere needs it.

convsnn.spiking        JSON: neuron, encoder, readout, schedule, timesteps, model, versions
convsnn.data           the data set it was made for, as --data takes it
convsnn.preprocessing  JSON: how raw values become the network's input
convsnn.labels         JSON: the names of the classes, or their numbers, in the order of the logits
convsnn.thresholds     JSON: smallest, mean and largest of every layer of neurons
convsnn.report         JSON: the figures of report.json: accuracies, agreement, energy
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from convsnn.spiking.network import Spiking

PREFIX = "convsnn."


def described(
    net: Spiking, *, labels: Sequence[str] | None = None, report: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """What is known of `net`; `labels` are the names of its classes, None where its answers are no
    classes, `report` is its report.json."""
    origin = net.provenance
    about = {
        "neuron": net.neuron,
        "encoder": net.encoder.spec(),
        "readout": net.readout,
        "schedule": net.schedule,
        "timesteps": origin.get("timesteps"),
        "model": origin.get("model"),
        "versions": origin.get("versions"),
    }
    found: dict[str, Any] = {"spiking": about, "thresholds": _thresholds(net)}
    if origin.get("preprocessing") is not None:
        found["preprocessing"] = origin["preprocessing"]
    if labels is not None:
        found["labels"] = list(labels)
    if report is not None:
        found["report"] = _figures(report)
    texts = {PREFIX + key: json.dumps(value, sort_keys=True) for key, value in found.items()}
    if isinstance(origin.get("data"), str):
        texts[f"{PREFIX}data"] = origin["data"]
    return texts


def _thresholds(net: Spiking) -> dict[str, dict[str, float]]:
    found = {}
    for name, planned in net.plan.sites.items():
        all_of_it = planned.threshold.double()
        found[name] = {
            "min": float(all_of_it.min()),
            "mean": float(all_of_it.mean()),
            "max": float(all_of_it.max()),
        }
    return found


def _figures(report: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a report that tells how good the network is."""
    keys = {
        "ann": ("accuracy",),
        "snn": ("accuracy", "agreement"),
        "energy": ("paper", "counted", "cached"),
        "data": ("calibration", "evaluation"),
    }
    return {
        "timesteps": report["timesteps"],
        "precision": report["precision"],
        **{group: {key: report[group][key] for key in wanted} for group, wanted in keys.items()},
    }
