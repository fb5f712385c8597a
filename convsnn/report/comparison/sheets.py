"""A comparison as CSV: a row for every method, and its score after every step."""

from convsnn.report.comparison.document import Comparison, compared_steps, family
from convsnn.report.sheets import FRACTION, RATE, RATIO, SECONDS, Sheet

_ABOUT = ("name", "title", "family", "kind", "spikes", "trained", "schedule", "each", "readout")
_NUMBERS = {
    "sin_ratio": FRACTION,
    "firing_rate": RATE,
    "first_answer": "steps",
    "calibration_seconds": SECONDS,
    "training_seconds": SECONDS,
    "simulation_seconds": SECONDS,
}


def comparison_sheets(comparison: Comparison) -> list[Sheet]:
    """The methods first, all of the terminal's columns whether it has room for them or not."""
    steps = list(map(str, compared_steps(comparison["timesteps"])))
    unit = "" if comparison.get("unit") == "number" else FRACTION
    columns = dict.fromkeys(_ABOUT, "")
    columns |= {f"score.{step}": unit for step in steps}
    columns |= {f"energy.{step}": RATIO for step in steps} | _NUMBERS
    rows = []
    for one in comparison["methods"]:
        scores = {f"score.{step}": one["score"][step] for step in steps}
        energies = {f"energy.{step}": one["energy"][step] for step in steps}
        rows.append({"each": False, **one, "family": family(one), **scores, **energies})
    return [Sheet("methods", columns, rows), _scores(comparison, unit)]


def _scores(comparison: Comparison, unit: str) -> Sheet:
    rows = [
        {"name": one["name"], "step": step, "score": score}
        for one in comparison["methods"]
        for step, score in enumerate(one["scores"], start=1)
        if score is not None
    ]
    return Sheet("scores", {"name": "", "step": "", "score": unit}, rows)
