"""The pictures of what was taken for what: a cell for every class and answer."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure

from convsnn.report.document import Report
from convsnn.report.page.charts import WIDTH
from convsnn.report.page.classes import class_name
from convsnn.report.readings import Cells
from convsnn.report.svg import CARD, FIRST, INK, draw
from convsnn.report.wording import shortened

COUNTED = 12  # classes up to which the cells have room for a number
NAME = 12  # characters of a class's name


def confusion_charts(report: Report) -> dict[str, str]:
    """The tables of the spiking network and of the original; none where there are too many
    classes."""
    section = report.get("classes")
    if section is None or section["confusion"]["snn"] is None:
        return {}
    names = [class_name(section, number) for number in range(len(section["samples"]))]
    return {key: _table(f"confusion-{key}", section["confusion"][key], names)
            for key in ("snn", "ann")}  # fmt: skip


def _table(name: str, rows: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    table = np.array(rows, dtype=float)
    seen = table.sum(1, keepdims=True)
    shares = np.divide(table, seen, out=np.full_like(table, np.nan), where=seen > 0)
    number = len(names)
    short = [shortened(one, NAME) for one in names]

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        red, green, blue = (int(FIRST[i : i + 2], 16) / 255 for i in (1, 3, 5))
        shades = LinearSegmentedColormap.from_list(
            "share", [(red, green, blue, 0.05), (red, green, blue, 1.0)], N=32
        )
        # a root, so that a few that were confused can be seen beside the many that were not
        root = PowerNorm(0.5, vmin=0, vmax=1)
        axes.pcolormesh(shares, cmap=shades, norm=root, edgecolor=CARD, linewidth=0.8)
        size = min(9.0, 190 / number)
        places = np.arange(number) + 0.5
        axes.set_yticks(places, short, fontsize=size)
        lying = max(map(len, short)) > 2
        axes.set_xticks(places, short, fontsize=size, rotation=90 if lying else 0)
        axes.set_ylim(number, 0)
        axes.set_aspect("equal")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.set_xlabel("answer")
        axes.set_ylabel("class")
        for row, column in np.argwhere(table > 0) if number <= COUNTED else ():
            deep = shares[row, column] > 0.35
            axes.text(
                column + 0.5, row + 0.5, f"{table[row, column]:.0f}", fontsize=size - 1,
                ha="center", va="center", color=CARD if deep else INK,
            )  # fmt: skip

    label = f"What was answered to each of {number} classes, in shares of its samples"
    cells = Cells(list(names), list(names))
    return draw(name, paint, size=(WIDTH, WIDTH), label=label, cells=cells)
