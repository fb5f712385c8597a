"""What an exported file says of itself, as texts by key: whoever runs it elsewhere needs it.

convsnn.spiking        JSON: neuron, encoder, readout, timesteps, versions
convsnn.data           the data set it was made for, as --data takes it
convsnn.preprocessing  JSON: how raw values become the network's input
convsnn.labels         JSON: the names of the classes, in the order of the logits
convsnn.thresholds     JSON: smallest, mean and largest of every layer of neurons
convsnn.report         JSON: the figures of report.json: accuracies, agreement, energy
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from convsnn.errors import ConfigError
from convsnn.spiking.network import Spiking

PREFIX = "convsnn."


def described(
    net: Spiking, *, labels: Sequence[str] | None = None, report: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """What is known of `net`; `labels` are the names of its classes, `report` its report.json.

    Without names the classes are called by their numbers. ConfigError where there are not as many
    names as classes.
    """
    origin = net.provenance
    about = {
        "neuron": net.neuron,
        "encoder": net.encoder.spec(),
        "readout": net.readout,
        "timesteps": origin.get("timesteps"),
        "model": origin.get("model"),
        "versions": origin.get("versions"),
    }
    found: dict[str, Any] = {"spiking": about, "thresholds": _thresholds(net)}
    if origin.get("preprocessing") is not None:
        found["preprocessing"] = origin["preprocessing"]
    names = _labels(net, labels)
    if names is not None:
        found["labels"] = names
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


def _labels(net: Spiking, labels: Sequence[str] | None) -> list[str] | None:
    shape = net.graph.shapes[net.graph.outputs[0]]
    if labels is None:
        return [str(number) for number in range(shape[0])] if len(shape) == 1 else None
    if len(shape) != 1 or len(labels) != shape[0]:
        raise ConfigError(
            f"{len(labels)} labels do not name the {'x'.join(map(str, shape))} outputs of the "
            "network",
            hint="give one name a class, in the order of the network's outputs",
        )
    return [str(name) for name in labels]


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
