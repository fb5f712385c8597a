"""Fine-tuning as CSV: before and after by step and by layer, and the epochs between."""

from collections.abc import Mapping
from typing import Any

from convsnn.report.finetuning.document import scored_steps
from convsnn.report.sheets import ACTIVATION, FRACTION, RATE, RATIO, Sheet, flat
from convsnn.report.training.sheets import epoch_sheet, layer_sheet, weight_sheet

_TIMES = ("before", "after")


def finetuning_sheets(document: Mapping[str, Any]) -> list[Sheet]:
    """Steps, layers, epochs, and layers and weights in every epoch."""
    unit = FRACTION if document["score"]["unit"] == "fraction" else ""
    units = {"score": unit, "agreement": FRACTION, "energy": RATIO}
    columns = {f"{key}.{time}": unit for key, unit in units.items() for time in _TIMES}
    steps = [
        {
            "step": step,
            **{f"{key}.{t}": document[t][key][step - 1] for key in units for t in _TIMES},
        }
        for step in scored_steps(document)
    ]
    thresholds = {
        f"threshold.{time}.{end}": ACTIVATION for time in _TIMES for end in ("min", "mean", "max")
    }
    rates = {f"firing_rate.{time}": RATE for time in _TIMES}
    layers = [flat(layer) for layer in document["layers"]]
    epochs: list[tuple[Mapping[str, Any], Any]] = [({}, document["epochs"])]
    return [
        Sheet("before-after", {"step": "", **columns}, steps),
        Sheet("trained-layers", {"name": "", **thresholds, **rates}, layers),
        epoch_sheet(epochs, {}),
        layer_sheet(epochs, {}),
        weight_sheet(epochs, {}),
    ]
