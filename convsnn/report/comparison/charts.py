"""The two charts of a comparison: accuracy over time steps, and accuracy against energy."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    NullFormatter,
    NullLocator,
    PercentFormatter,
)

from convsnn.report.comparison.document import (
    Comparison,
    ann_score,
    compared_steps,
    family,
    named,
)
from convsnn.report.page.charts import WIDTH
from convsnn.report.svg import AXIS, CARD, FIRST, GRID, INK, SECOND, THIRD, draw
from convsnn.report.wording import shortened, significant

COLOURS = {"binary": FIRST, "graded": SECOND, "signed": THIRD}
MARKERS = {"binary": "o", "graded": "s", "signed": "^"}
ACROSS = 3  # panels beside each other: the most that can be read on a phone
LABEL_GAP = (0.09, 0.035)  # of the axes: labels that would stand closer are left out


def steps_chart(comparison: Comparison) -> str:
    """One small panel per method: its score over time steps, all others in the background."""
    rows = comparison["methods"]
    down = math.ceil(len(rows) / ACROSS)

    def paint(figure: Figure) -> None:
        panels = figure.subplots(down, ACROSS, sharex=True, sharey=True, squeeze=False)
        for number, axes in enumerate(panels.flat):
            if number < len(rows):
                _panel(axes, comparison, number)
            else:
                axes.set_visible(False)
        for axes in panels.flat[max(0, len(rows) - ACROSS) : len(rows)]:
            axes.tick_params(labelbottom=True)

    label = f"{named(comparison)} over time steps, one panel for each of {len(rows)} methods"
    return draw("steps", paint, size=(WIDTH, 0.4 + 1.15 * down), label=label)


def _scored(row: Mapping[str, Any]) -> tuple[list[int], list[float]]:
    """The steps at which a row was scored, and its scores: layer by layer not at all of them."""
    known = [(step, value) for step, value in enumerate(row["scores"], 1) if value is not None]
    return [step for step, _ in known], [value for _, value in known]


def _panel(axes: Any, comparison: Comparison, number: int) -> None:
    rows, total = comparison["methods"], comparison["timesteps"]
    for other in rows:
        axes.plot(*_scored(other), color=GRID, linewidth=0.8)
    ann = _ceiling(comparison)
    axes.axhline(ann, color=INK, linestyle=(0, (5, 3)), linewidth=1.0)
    axes.plot(*_scored(rows[number]), color=COLOURS[rows[number]["spikes"]], linewidth=1.8)
    axes.set_xscale("log", base=2)
    ticks = [step for step in (1, 4, 16, 64, 256, 1024) if 2 * step <= total] + [total]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:.0f}"))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
    axes.tick_params(labelsize=8.5)
    axes.set_ylim(0, 1.03)
    axes.set_title(f"{number + 1} {shortened(rows[number]['title'], 21)}", fontsize=8.5, loc="left")


def _ceiling(comparison: Comparison) -> float:
    """The original's own score, or full agreement."""
    known = ann_score(comparison)
    return 1.0 if known is None else float(known)


def front(rows: Sequence[Any], ranked: str) -> list[tuple[float, float, int, int]]:
    """The runs of one family that no other run of it beats: (energy, score, row number, step).

    A run is a method read out at one of its steps; of those that cost no more, it has the best
    score. Rows are counted from 1. Cheapest first.
    """
    runs = sorted(
        (one["energy"][step], -one["score"][step], number, int(step))
        for number, one in enumerate(rows, start=1)
        if family(one) == ranked
        for step in one["score"]
    )
    found: list[tuple[float, float, int, int]] = []
    for energy, lost, number, step in runs:
        if energy > 0 and (not found or -lost > found[-1][1]):
            found.append((energy, -lost, number, step))
    return found


def cost_chart(comparison: Comparison) -> str:
    """Score against energy: every method at every compared step, the best of them joined.

    What was trained has hollow markers and a dashed line.
    """
    rows = comparison["methods"]
    families = list(dict.fromkeys((one["spikes"], one["trained"]) for one in rows))

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.axhline(
            _ceiling(comparison), color=INK, linestyle=(0, (5, 3)), linewidth=1.2, label="ANN"
        )
        axes.axvline(1.0, color=INK, linestyle=(0, (5, 3)), linewidth=1.2)
        for one in rows:
            places = [(one["energy"][step], one["score"][step]) for step in one["score"]]
            axes.plot(
                *zip(*places, strict=True), color=AXIS, linestyle="", alpha=0.55,
                marker=MARKERS[one["spikes"]], markersize=3,
                fillstyle="none" if one["trained"] else "full",
            )  # fmt: skip
        for spikes, trained in families:
            name = family({"spikes": spikes, "trained": trained})
            _front(axes, front(rows, name), name, spikes=spikes, trained=trained)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda ratio, _: significant(ratio, 2)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(0, 1.03)
        axes.set_xlabel("energy (counted), ANN = 1")
        axes.legend(
            loc="lower left", bbox_to_anchor=(-0.02, 1.0), borderpad=0.2, columnspacing=1.2,
            ncols=2, handlelength=1.8, handletextpad=0.5,
        )  # fmt: skip

    label = f"{named(comparison)} against energy at {_steps_text(comparison)}"
    return draw("cost", paint, size=(WIDTH, 4.2), label=label)


def _front(
    axes: Any,
    runs: Sequence[tuple[float, float, int, int]],
    name: str,
    *,
    spikes: str,
    trained: bool,
) -> None:
    if not runs:
        return
    energies, scores, numbers, _ = zip(*runs, strict=True)
    colour = COLOURS[spikes]
    axes.plot(
        energies, scores, color=colour, marker=MARKERS[spikes], drawstyle="steps-post",
        linestyle=(0, (3, 2)) if trained else "-", markerfacecolor=CARD if trained else colour,
        markeredgecolor=colour if trained else CARD, label=f"best {name}",
    )  # fmt: skip
    above = spikes == "binary" and not trained
    for energy, score, number in zip(energies, scores, numbers, strict=True):
        axes.annotate(
            str(number), (energy, score), (0, 5 if above else -12),
            textcoords="offset points", ha="center", fontsize=8.5,
        )  # fmt: skip


def _steps_text(comparison: Comparison) -> str:
    return ", ".join(map(str, compared_steps(comparison["timesteps"]))) + " steps"
