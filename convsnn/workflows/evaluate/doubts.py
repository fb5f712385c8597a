"""What makes a score mean less than it seems to, in words for the report's warnings."""

from collections.abc import Mapping
from typing import Any

from zoo.data import DataSet
from zoo.data.still import Averaged

MEAN_FRAME = (
    "every time step was shown a frame of its own; the ANN of this report, which knows no time, "
    "was shown the mean of each sample's frames"
)
STILL = (
    "the data are sequences of {0} frames, but every time step was shown their mean, as the ANN of "
    "this report was"
)

ONE_PART = ("npz:", "frames:")  # sources that name the file of one part, not of both


def shown_over_time(data: DataSet) -> list[str]:
    """What the two networks were shown of samples that are sequences."""
    if data.test.steps is not None:
        return [MEAN_FRAME]
    if isinstance(data.test, Averaged):
        return [STILL.format(data.test.part.steps)]
    return []


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
