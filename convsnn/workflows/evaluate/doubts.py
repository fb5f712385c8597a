"""What makes a score mean less than it seems to, in words for the report's warnings."""

from collections.abc import Mapping
from typing import Any

ONE_PART = ("npz:", "frames:")  # sources that name the file of one part, not of both


def doubts(header: Mapping[str, Any]) -> list[str]:
    """Warnings about the data of a report with this `header`."""
    found, data = [], header["data"]
    calibration, evaluation = data["calibration"], data["evaluation"]
    same = calibration["source"] == evaluation["source"]
    whole = evaluation["source"].startswith(ONE_PART)
    if same and (whole or calibration["split"] == evaluation["split"]):
        found.append(
            f"{evaluation['source']} is also what the network was calibrated or trained on: the "
            "accuracy is not that on unseen images"
        )
    return found
