"""A diagnosis as CSV: the error of every layer with its parts, and the findings."""

from collections.abc import Mapping
from typing import Any

from convsnn.measure.decomposition import PARTS
from convsnn.report.sheets import ACTIVATION, FRACTION, Sheet, flat

_RELATIVE = "of the activations"
_LAYER = {
    "name": "",
    "kind": "",
    "neurons": "",
    "error": _RELATIVE,
    "made_here": _RELATIVE,
    "mean_error": _RELATIVE,
    **{f"rms.{part}": _RELATIVE for part in PARTS},
    **{f"shares.{part}": FRACTION for part in PARTS},
    "above": FRACTION,
    "sin_ratio": FRACTION,
    "dead": FRACTION,
    "ann_dead": FRACTION,
    "activation_rms": ACTIVATION,
    "threshold.min": ACTIVATION,
    "threshold.mean": ACTIVATION,
    "threshold.max": ACTIVATION,
    "start": "threshold",
}
_FINDING = dict.fromkeys(("number", "finding", "reason", "try"), "")


def diagnosis_sheets(document: Mapping[str, Any]) -> list[Sheet]:
    """The layers first; of a finding `try` has one option a line."""
    findings = [
        {**finding, "number": number, "try": "\n".join(finding["try"])}
        for number, finding in enumerate(document["findings"], start=1)
    ]
    layers = [flat(layer) for layer in document["layers"]]
    return [Sheet("layers", _LAYER, layers), Sheet("findings", _FINDING, findings)]
