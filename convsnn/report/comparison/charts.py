"""The two charts of a comparison: every method's score over time steps, and against energy.

Colours and markers tell kinds of spikes apart, lines schedules, hollow markers what was trained.
Each method has a number, that of its row in the table, and parts that can be hidden by their ids.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from convsnn.report.comparison import scale
from convsnn.report.comparison.document import (
    Comparison,
    compared_steps,
    family,
    named,
    sends,
)
from convsnn.report.page.charts import WIDTH, time_axes
from convsnn.report.svg import AXIS, CARD, FIRST, INK, SECOND, THIRD, VARIABLES, draw
from convsnn.report.wording import COUNTED
from convsnn.spiking.kinds import ANALOG

COLOURS = {"binary": FIRST, "graded": SECOND, "signed": THIRD, ANALOG: AXIS}
MARKERS = {"binary": "o", "graded": "s", "signed": "^", ANALOG: "D"}
STROKES = {"steps": "-", "layers": (0, (1, 1.5))}
STEPS, COST = "steps", "cost"  # the charts, as ids in the page begin
_HEIGHT = 331.0  # points, of both charts unless there are many methods
_LINE = 11.0  # points between two numbers
_AROUND = 62.0  # points of a chart's height that are not axes
_CLOSE = 0.12, 0.05  # in decades and in parts of the axis: a number there would hide another
_ASIDE = 1.045, 1.06  # of the axes' width: where a number's line ends and the number begins


def steps_chart(comparison: Comparison) -> str:
    """The score of every method over time steps, with its number at the end of its line."""
    rows = comparison["methods"]
    height = max(_HEIGHT, _AROUND + _LINE * (len(rows) + 1))

    def paint(figure: Figure) -> None:
        axes = time_axes(figure, comparison["timesteps"])
        scale.set_axis(axes, comparison)
        _ann(axes, comparison)
        for number, one in enumerate(rows, start=1):
            line = _styled(one, linewidth=1.3, markersize=2.4, alpha=0.9)
            apart = one.get("schedule") == "layers" or None in one["scores"]
            if not apart:  # a step is marked where it is a network of its own
                line["marker"] = ""
            axes.plot(*_scored(one), **line, label=f"{number} {one['title']}")
        _number(axes, comparison, height - _AROUND)
        _legend(axes, _kinds(rows))

    label = f"{named(comparison)} over time steps, a line for each of {len(rows)} methods"
    return draw(STEPS, paint, size=(WIDTH, height / 72), label=label)


def _ann(axes: Any, comparison: Comparison) -> None:
    """The original's line, the first of every chart."""
    level = scale.ceiling(comparison)
    axes.axhline(level, color=INK, linestyle=(0, (5, 3)), linewidth=1.2, label="ANN")


def _scored(one: Mapping[str, Any]) -> tuple[list[int], list[float]]:
    """The steps at which a row was scored, and its scores: layer by layer not at all of them."""
    known = [(step, value) for step, value in enumerate(one["scores"], 1) if value is not None]
    return [step for step, _ in known], [max(value, scale.LOWEST) for _, value in known]


def _styled(one: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    colour = COLOURS[sends(one)]
    return {
        "color": colour,
        "marker": MARKERS[sends(one)],
        "linestyle": STROKES[one.get("schedule", "steps")],
        "markerfacecolor": CARD if one["trained"] else colour,
        **more,
    }


def _number(axes: Any, comparison: Comparison, height: float) -> None:
    """The number of every method beside its last score, moved where others stand."""
    rows = comparison["methods"]
    ends = [scale.place(comparison, _scored(one)[1][-1]) for one in rows]
    for number, (end, shown) in enumerate(zip(ends, spread(ends, _LINE / height), strict=True), 1):
        colour = COLOURS[sends(rows[number - 1])]
        lead = Line2D(
            (1, _ASIDE[0]), (end, shown), transform=axes.transAxes, clip_on=False, color=colour,
            linewidth=0.6, alpha=0.7, label=f"_{number}",
        )  # fmt: skip
        lead.set_gid(f"lead-{number}")
        axes.add_artist(lead)
        axes.text(
            _ASIDE[1], shown, str(number), transform=axes.transAxes, va="center", fontsize=8.5,
            color=colour, gid=f"tag-{number}",
        )  # fmt: skip


def spread(places: Sequence[float], gap: float) -> list[float]:
    """`places`, each moved as little as leaves `gap` between any two, in the same order, and all
    between 0 and 1 where there is room for them."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    groups: list[list[float]] = []  # [middle, count], of numbers that stand close
    for i in order:
        groups.append([places[i], 1])
        while len(groups) > 1 and _bottom(groups[-1], gap) < _top(groups[-2], gap) + gap - 1e-12:
            (upper, many), (lower, few) = groups.pop(), groups.pop()
            groups.append([(upper * many + lower * few) / (many + few), many + few])
    shown = [_bottom(group, gap) + i * gap for group in groups for i in range(int(group[1]))]
    top, bottom, found = 1.0, 0.0, [0.0] * len(places)
    for i in range(len(shown) - 1, -1, -1):
        shown[i] = min(shown[i], top)
        top = shown[i] - gap
    for i, place in enumerate(order):
        found[place] = max(shown[i], bottom)
        bottom = found[place] + gap
    return found


def _bottom(group: Sequence[float], gap: float) -> float:
    return group[0] - gap * (group[1] - 1) / 2


def _top(group: Sequence[float], gap: float) -> float:
    return group[0] + gap * (group[1] - 1) / 2


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
    """Score against energy: every method at every compared step, the best of every family joined.

    A family is a kind of spikes in one schedule, trained or not.
    """
    rows = comparison["methods"]

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.set_xscale("log")
        scale.set_axis(axes, comparison)
        _ann(axes, comparison)
        axes.axvline(1.0, color=INK, linestyle=(0, (5, 3)), linewidth=1.2)
        for number, one in enumerate(rows, start=1):
            line = _styled(one, alpha=0.5, markersize=3.2) | {"linestyle": ""}
            axes.plot(*_runs(one), **line, label=f"{number} {one['title']}")
        taken: list[tuple[float, float]] = []
        for place, ranked in enumerate(families(comparison)):
            _front(axes, comparison, ranked, place, taken)
        low, high = axes.get_xlim()
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1, 3)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(f"energy: {COUNTED}")
        _legend(axes, _fronts(rows))

    steps = ", ".join(map(str, compared_steps(comparison["timesteps"])))
    label = f"{named(comparison)} against energy at {steps} steps"
    return draw(COST, paint, size=(WIDTH, _HEIGHT / 72), label=label)


def _runs(one: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Energies and scores of one method at the compared steps."""
    known = [(one["energy"][s], max(one["score"][s], scale.LOWEST)) for s in one["score"]]
    return [energy for energy, _ in known], [score for _, score in known]


def families(comparison: Comparison) -> list[str]:
    """In the order of the table."""
    return list(dict.fromkeys(family(one) for one in comparison["methods"]))


def _front(
    axes: Any, comparison: Comparison, ranked: str, place: int, taken: list[tuple[float, float]]
) -> None:
    """The runs of a family that no cheaper one of it reaches, joined, with their numbers, but for
    those that would lie on others: `taken` are the places of these."""
    rows = comparison["methods"]
    runs = [(cost, max(score, scale.LOWEST), *of) for cost, score, *of in front(rows, ranked)]
    if not runs:
        return
    line = _styled(next(one for one in rows if family(one) == ranked), linewidth=1.8)
    energies, scores, *_ = zip(*runs, strict=True)
    (made,) = axes.plot(energies, scores, **line, drawstyle="steps-post")
    made.set_gid(f"front-{place}")
    for energy, score, number, step in runs:
        at = math.log10(energy), scale.place(comparison, score)
        if any(abs(at[0] - x) < _CLOSE[0] and abs(at[1] - y) < _CLOSE[1] for x, y in taken):
            continue
        taken.append(at)
        axes.annotate(
            str(number), (energy, score), (-3, 4), textcoords="offset points", ha="right",
            fontsize=8.5, color=line["color"], gid=f"best-{place}-{number}-{step}",
        )  # fmt: skip


def colour(comparison: Comparison, ranked: str) -> str:
    """The page's variable for the colour of a family."""
    one = next(one for one in comparison["methods"] if family(one) == ranked)
    return VARIABLES[COLOURS[sends(one)]]


def parts(number: int) -> list[str]:
    """The ids of all that is drawn of a method, the first of which has the number 1."""
    lines = [f"{STEPS}-line-{number}", f"{COST}-line-{number}"]  # line 0 is the original's
    return [*lines, f"{STEPS}-tag-{number}", f"{STEPS}-lead-{number}"]


def family_parts(comparison: Comparison, ranked: str) -> list[str]:
    """The ids of all that is drawn of a family: its methods, its front and the numbers on that."""
    rows, place = comparison["methods"], families(comparison).index(ranked)
    numbers = [number for number, one in enumerate(rows, start=1) if family(one) == ranked]
    found = [part for number in numbers for part in parts(number)]
    best = front(rows, ranked)
    marks = [f"{COST}-best-{place}-{number}-{step}" for _, _, number, step in best]
    return [*found, f"{COST}-front-{place}", *marks]


def _kinds(rows: Sequence[Any]) -> list[Line2D]:
    """A line for each kind of spikes and each schedule that there is."""
    found = [
        Line2D([], [], color=COLOURS[kind], label=kind) for kind in dict.fromkeys(map(sends, rows))
    ]
    if any(one.get("schedule") == "layers" for one in rows):
        dots = {"marker": "o", "markersize": 2.4, "color": INK}
        found.append(Line2D([], [], linestyle=STROKES["layers"], label="layer by layer", **dots))  # type: ignore[arg-type]
    return found


def _fronts(rows: Sequence[Any]) -> list[Line2D]:
    """A line for each family."""
    first = {family(one): one for one in reversed(rows)}
    names = list(dict.fromkeys(map(family, rows)))
    return [Line2D([], [], **_styled(first[name]), label=f"best {name}") for name in names]


def _legend(axes: Any, handles: Sequence[Line2D]) -> None:
    """Above the axes, with the original's line first."""
    ann = Line2D([], [], color=INK, linestyle=(0, (5, 3)), linewidth=1.2, label="ANN")
    axes.legend(
        handles=[ann, *handles], loc="lower left", bbox_to_anchor=(-0.02, 1.0), borderpad=0.2,
        columnspacing=1.2, ncols=2, handlelength=2.2, handletextpad=0.5, fontsize=9.5,
    )  # fmt: skip
