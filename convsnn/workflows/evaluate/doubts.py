"""What makes a score mean less than it seems to, in words for the report's warnings."""

from collections.abc import Mapping
from math import sqrt
from typing import Any

ERRORS = 3.0  # standard errors above guessing from which on an accuracy is not luck
ONE_PART = ("npz:", "frames:")  # sources that name the file of one part, not of both


def doubts(header: Mapping[str, Any], *, accuracy: float | None, classes: int | None) -> list[str]:
    """Warnings about a report with this `header`, whose original has this `accuracy` (0 to 1)."""
    found = []
    data, training = header["data"], header["method"].get("training", {})
    if accuracy is not None and classes is not None and "recipe" not in training:
        chance = 1 / classes
        luck = ERRORS * sqrt(chance * (1 - chance) / data["evaluation"]["samples"])
        if classes > 1 and accuracy < chance + luck:
            found.append(
                f"the original itself is right on {accuracy:.2%}, no better than guessing among "
                f"{classes} classes: check --weights, --scale, --mean, --std and the labels"
            )
    calibration, evaluation = data["calibration"], data["evaluation"]
    same = calibration["source"] == evaluation["source"]
    whole = evaluation["source"].startswith(ONE_PART)
    if same and (whole or calibration["split"] == evaluation["split"]):
        found.append(
            f"{evaluation['source']} is also what the network was calibrated or trained on: the "
            "accuracy is not that on unseen images"
        )
    return found
