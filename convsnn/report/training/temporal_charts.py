"""The potential of the temporal-coding task's output neuron, as threshold annealing's figure 4."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from convsnn.report.page.charts import WIDTH, legend
from convsnn.report.svg import AXIS, draw
from convsnn.report.training.charts import COLOURS, STROKES


def potential_chart(name: str, case: Mapping[str, Any]) -> str:
    """Potential over the steps at the kept updates, with what it is to be; dots are spikes."""
    traces = case["traces"]

    def paint(figure: Figure) -> None:
        axes: Any = figure.add_subplot()
        axes.plot(case["target"], color=AXIS, linestyle=STROKES[2], label="target")
        for place, trace in enumerate(traces):
            colour = COLOURS[place % len(COLOURS)]
            stroke = STROKES[place // len(COLOURS) % len(STROKES)]
            axes.plot(
                trace["potential"], color=colour, linestyle=stroke, linewidth=1.2,
                label=f"update {trace['update']}",
            )  # fmt: skip
            axes.plot(
                trace["spikes"], [trace["potential"][step] for step in trace["spikes"]],
                color=colour, linestyle="", marker="o", markersize=2.5,
            )  # fmt: skip
        axes.axhline(traces[-1]["threshold"], color=AXIS, linewidth=0.8)
        axes.set_xlabel("step")
        axes.set_ylabel("potential")
        legend(axes, 3)

    key = "".join(c if c.isalnum() else "-" for c in name)
    label = f"Potential of the output neuron over the steps, {name}"
    return draw(key, paint, size=(WIDTH, 3.8), label=label)
