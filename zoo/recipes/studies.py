"""Studies: recipes that are trained one after the other, so that a figure or a table of a paper can
be redrawn from them. `convsnn train STUDY` takes one as it takes a recipe.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from zoo.recipes.rouser import SETTINGS, SWEEP


@dataclass(frozen=True)
class Study:
    """What is compared: a name for every row, and its recipe. `source` is the paper's figure."""

    source: str
    rows: Mapping[str, str]


def _rouser(data: str) -> dict[str, Study]:
    prefix = f"rouser-{data}"
    rows = {
        f"{name}, threshold {threshold:g}": f"{prefix}-{setting}{ending}"
        for setting, (threshold, _, _) in SETTINGS.items()
        for name, ending in (
            ("Rouser", ""), ("SLAYER", "-slayer"), ("SLAYER, weights normalised", "-slayer-norm")
        )
    }  # fmt: skip
    rates = {
        f"rate {rate:g}, threshold {threshold:g}": f"{prefix}-{setting}-rate{rate:g}"
        for setting, (threshold, _, _) in SETTINGS.items()
        for rate in (0.0, 0.001, 0.01)
    }
    return {
        f"{prefix}-study": Study("Rouser, figures 4 to 7, 9 and 10, table 3", rows),
        f"{prefix}-ablation": Study("Rouser, figure 11", rates),
    }


def _sweep(data: str, thresholds: tuple[float, ...]) -> dict[str, Study]:
    rows = {f"threshold {value:g}": f"rouser-{data}-sweep-{value:g}" for value in thresholds}
    return {f"rouser-{data}-sweep": Study("Rouser, figure 3", rows)}


def _annealing(data: str, source: str, others: Mapping[str, str] | None = None) -> dict[str, Study]:
    rows = {
        "full precision": "float", "binary, threshold 1": "one", "binary": "fixed",
        "binary, annealed": "annealed",
    }  # fmt: skip
    rows |= others or {}
    named = {label: f"annealing-{data}-{ending}" for label, ending in rows.items()}
    return {f"annealing-{data}-study": Study(f"Threshold annealing, {source}", named)}


_DETECTORS = {
    "threshold fixed": "lt-snn-yolo-short-fixed",
    "threshold learnable": "lt-snn-yolo-short",
}

STUDIES: dict[str, Study] = {
    "lt-snn-yolo-short-study": Study("LT-SNN, table 6 in short", _DETECTORS),
    **_rouser("nmnist"),
    **_rouser("dvs128"),
    **_rouser("shd"),
    **_rouser("short"),
    **_sweep("nmnist", SWEEP["nmnist"]),
    **_sweep("dvs128", SWEEP["dvs128"]),
    **_sweep("short", SWEEP["nmnist"]),
    **_annealing("mnist", "table 1 and figure 7"),
    **_annealing("fmnist", "table 1 and figure 7"),
    **_annealing("dvs128", "table 2, figures 5 and 6"),
    **_annealing("shd", "table 2, figures 5 and 6"),
    **_annealing(
        "mnist-short",
        "table 1 and figure 7 in short",
        {"binary, fixed where annealing ends": "ends"},
    ),
}
