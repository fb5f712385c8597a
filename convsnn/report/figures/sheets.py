"""The numbers of MSAT's figures as CSV: scores and wrong firing over steps, firing rates."""

from collections.abc import Mapping

from convsnn.report.comparison.document import measured
from convsnn.report.document import Report
from convsnn.report.page.sheets import scored_steps
from convsnn.report.sheets import FRACTION, RATE, Sheet


def figure_sheets(reports: Mapping[str, Report]) -> list[Sheet]:
    """Figure 3 first: the score of every run after every step; then 2, 4 and 5 by layer."""
    steps = scored_steps(reports["fixed"])
    quality = measured(reports["fixed"])
    unit = FRACTION if quality.unit == "fraction" else ""
    scores = [
        {
            "step": step,
            "ann": quality.ann,
            **{name: measured(report).snn[step - 1] for name, report in reports.items()},
        }
        for step in steps
    ]
    layers = [
        {
            "run": name,
            "layer": layer["name"],
            "step": step,
            "sin_ratio": layer["sin_ratio"][step - 1],
            "firing_rate": layer["firing_rate"][step - 1],
        }
        for name, report in reports.items()
        for layer in report["layers"]
        for step in steps
    ]
    places = dict.fromkeys(("run", "layer", "step"), "")
    return [
        Sheet("scores", {"step": "", "ann": unit, **dict.fromkeys(reports, unit)}, scores),
        Sheet("layers", {**places, "sin_ratio": FRACTION, "firing_rate": RATE}, layers),
    ]
