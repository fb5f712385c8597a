"""The charts of a search for a neuron's constants: every trial, and the best beside its rivals."""

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from convsnn.report.page.charts import WIDTH, legend
from convsnn.report.svg import AXIS, FIRST, INK, SECOND, THIRD, draw
from convsnn.report.wording import counted, significant

_COLOURS = (FIRST, INK, SECOND, THIRD, AXIS)  # the tuned neuron, as given, the fixed thresholds
_BARS = 0.8  # of the room between two steps


def trials_chart(document: Mapping[str, Any]) -> str:
    """The error of every trial that could be run, and the best so far."""
    known = [
        (n, error) for n, error in enumerate(document["history"], start=1) if error is not None
    ]
    numbers, errors = zip(*known, strict=True)

    def paint(figure: Figure) -> None:
        axes: Any = figure.add_subplot()
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.plot(numbers, errors, color=AXIS, marker="o", linestyle="", label="trial")
        best = list(accumulate(errors, min))
        axes.plot(numbers, best, color=FIRST, drawstyle="steps-post", label="best so far")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("trial")
        axes.set_ylabel("error")
        legend(axes, 2)

    found = counted(len(document["history"]), "trial")
    label = f"Error of {found}, the best {significant(min(errors))}"
    return draw("trials", paint, size=(WIDTH, 3.2), label=label)


def rivals_chart(document: Mapping[str, Any]) -> str:
    """The error of every rival after each step that counts."""
    rows = document["rows"]
    steps = list(rows[0]["error"])
    width = _BARS / len(rows)

    def paint(figure: Figure) -> None:
        axes: Any = figure.add_subplot()
        axes.grid(axis="x", visible=False)
        for place, row in enumerate(rows):
            left = (place - (len(rows) - 1) / 2) * width
            axes.bar(
                [group + left for group in range(len(steps))],
                [row["error"][step] for step in steps],
                width,
                color=_COLOURS[place % len(_COLOURS)],
                label=row["name"],
            )
        axes.set_xticks(range(len(steps)), steps)
        axes.set_xlabel("time steps")
        axes.set_ylabel("error")
        legend(axes, 2)

    label = f"Error of the outputs after {', '.join(steps)} steps, for each of {len(rows)} neurons"
    return draw("rivals", paint, size=(WIDTH, 3.5), label=label)
