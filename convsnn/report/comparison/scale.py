"""The axis of scores that a comparison's charts share: fine around the original, coarse far off.

Most methods end within a point of the original, and begin far below it. With s the score of the
original and w a width, a score y is drawn at asinh((y - s) / w): within w of s as on a plain axis,
beyond that as on a logarithmic one, in both directions.
"""

import math
from typing import Any

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from convsnn.report.comparison.document import Comparison, ann_score, named, scored

WIDTH = 0.005  # half a point: what a few hundred images can tell apart
LOWEST = -1.0  # an R2 below that is far off, and would press all others flat
_APART = 0.075  # of the axis between two ticks
_TICKS = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
_MARGIN = 0.03  # of the axis, below the lowest and above the highest score


class Percent(PercentFormatter):
    """Per cent with as many digits as a value has: 90 %, 99.5 %."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The text at a tick."""
        del pos
        return f"{round(100 * x, 6):g} %"


def ceiling(comparison: Comparison) -> float:
    """The original's own score, or full agreement."""
    known = ann_score(comparison)
    return 1.0 if known is None else float(known)


def limits(comparison: Comparison) -> tuple[float, float]:
    """The lowest and the highest score of all steps, the original's included."""
    scores = [s for one in comparison["methods"] for s in one["scores"] if s is not None]
    known = [*(max(float(score), LOWEST) for score in scores), ceiling(comparison)]
    return min(known), max(known)


def in_words(comparison: Comparison) -> str:
    """What the axis shows, for a caption."""
    low, high = (scored(comparison, end) for end in limits(comparison))
    lowest = min(s for one in comparison["methods"] for s in one["scores"] if s is not None)
    what = "all that occurs" if lowest >= LOWEST else "where all that is lower stands too"
    return (
        f"The axis shows {low} to {high}, {what}, and is stretched around "
        f"{'full agreement' if ann_score(comparison) is None else 'the ANN'} "
        f"({scored(comparison, ceiling(comparison))}, dashed): the farther from it, the coarser."
    )


def place(comparison: Comparison, score: float) -> float:
    """Where a score lies on the axis, 0 at its lower end and 1 at its upper one."""
    return _placed(score, _ends(comparison), ceiling(comparison))


def _placed(score: float, ends: tuple[float, float], middle: float) -> float:
    low, high = ends
    return float((_drawn(score, middle) - low) / (high - low))


def set_axis(axes: Any, comparison: Comparison) -> None:
    """Make the y axis of `axes` this one, with the original's line, whose label is "ANN"."""
    middle = ceiling(comparison)
    axes.set_yscale(
        "function",
        functions=(lambda y: _drawn(y, middle), lambda y: middle + WIDTH * np.sinh(y)),
    )
    low, high = (middle + WIDTH * math.sinh(end) for end in _ends(comparison))
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(FixedLocator(_ticks(comparison)))
    axes.yaxis.set_minor_locator(NullLocator())
    number = comparison.get("unit") == "number"
    words = FuncFormatter(lambda y, _: f"{round(y, 6):g}") if number else Percent(1.0)
    axes.yaxis.set_major_formatter(words)
    axes.set_ylabel(named(comparison))


def _drawn(score: Any, middle: float) -> Any:
    return np.arcsinh((np.asarray(score) - middle) / WIDTH)


def _ends(comparison: Comparison) -> tuple[float, float]:
    middle = ceiling(comparison)
    low, high = (float(_drawn(end, middle)) for end in limits(comparison))
    margin = max(_MARGIN * (high - low), 0.5 - (high - low) / 2)
    return low - margin, high + margin


def _ticks(comparison: Comparison) -> list[float]:
    """Round scores, the roundest first, as many as stand apart; finer ones only where the axis is
    fine enough to tell them from the next of their kind."""
    low, high = limits(comparison)
    ends, middle = _ends(comparison), ceiling(comparison)
    chosen: list[float] = []
    places: list[float] = []
    for size in _TICKS:
        for number in range(math.ceil(low / size - 1e-9), math.floor(high / size + 1e-9) + 1):
            before, at, after = (_placed((number + n) * size, ends, middle) for n in (-1, 0, 1))
            if after - before >= _APART and all(abs(at - other) >= _APART for other in places):
                chosen.append(number * size)
                places.append(at)
    return sorted(chosen)
