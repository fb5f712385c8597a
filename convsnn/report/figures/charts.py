"""The charts behind the figures 2 to 5 of MSAT, each a self-contained `<svg>` element."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from convsnn.report.comparison.document import measured
from convsnn.report.document import Report
from convsnn.report.page.charts import (
    WIDTH,
    layer_axes,
    layer_size,
    legend,
    line,
    time_axes,
)
from convsnn.report.svg import AXIS, FIRST, INK, SECOND, THIRD, draw
from convsnn.report.wording import percent

LINES = {
    "fixed": (AXIS, "v", "fixed V"),
    "lower": (THIRD, "^", "fixed 0.7 V"),
    "evoked": (SECOND, "s", "DET only"),
    "dynamic": (FIRST, "o", "DTT + DET"),
}


def accuracy_lines(reports: Mapping[str, Report], *, name: str) -> str:
    """Figure 3: accuracy over time steps of four kinds of threshold, the ANN's dotted."""
    first = reports["fixed"]
    score = measured(first)

    def paint(figure: Figure) -> None:
        axes = time_axes(figure, first["timesteps"])
        axes.axhline(
            1.0 if score.ann is None else score.ann,
            color=INK,
            linestyle=(0, (1, 2)),
            linewidth=1.6,
            label="ANN",
        )
        for run, (colour, marker, label) in LINES.items():
            line(axes, measured(reports[run]).snn, colour, marker, label)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        axes.set_ylabel("agreement with the ANN" if score.ann is None else score.label)
        legend(axes, 3)

    last = ", ".join(
        f"{k[2]} {percent(measured(reports[run]).snn[-1])}" for run, k in LINES.items()
    )
    label = f"{score.label.capitalize()} over time steps; after the last: {last}"
    return draw(name, paint, size=(WIDTH, 3.9), label=label)


def rate_bars(report: Report, *, name: str, at: Sequence[int]) -> str:
    """Figure 5: mean spikes per neuron and step of every layer, up to each step of `at`."""
    layers = report["layers"]

    def paint(figure: Figure) -> None:
        axes = layer_axes(figure, report)
        height = 0.76 / len(at)
        for place, (step, colour) in enumerate(zip(at, (SECOND, FIRST), strict=False)):
            rates = [layer["firing_rate"][step - 1] for layer in layers]
            rows = np.arange(len(layers)) + 0.12 + (place + 0.5) * height
            axes.barh(rows, rates, height=height, color=colour, label=f"T = {step}")
        axes.grid(visible=False, axis="y")
        axes.set_xlim(left=0)
        axes.set_xlabel("spikes per neuron and step")
        legend(axes, len(at))

    width, size = layer_size(layers)
    return draw(name, paint, size=(width, 1.3 * size), label="Firing rate of every layer")
