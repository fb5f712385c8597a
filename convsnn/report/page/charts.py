"""The charts of the HTML page, each a self-contained `<svg>` element."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from convsnn.report.document import Report
from convsnn.report.page.metrics import headline
from convsnn.report.page.summary import by_layers, shown_steps
from convsnn.report.readings import Cells
from convsnn.report.svg import AXIS, CARD, FIRST, INK, SECOND, THIRD, draw
from convsnn.report.wording import distinct, percent, shortened, significant

WIDTH = 5.3  # inches; drawn at about this size on a phone and a third larger on a desk
NAME_WIDTH = 23
LOWEST = 1.0  # R2 below minus this is far off, and would press the rest of a chart flat


def accuracy_chart(report: Report) -> str:
    """The headline score, if there is one, and agreement with the ANN at every time step."""
    agreement, first, apart = report["snn"]["agreement"], headline(report), by_layers(report)

    def paint(figure: Figure) -> None:
        axes = time_axes(figure, report["timesteps"])
        if first is not None and first.ann is not None:
            axes.axhline(first.ann, color=INK, linestyle=(0, (5, 3)), linewidth=1.4, label="ANN")
            known = [math.nan if value is None else value for value in first.snn]
            label = "SNN" if first.name == "accuracy" else first.label
            line(axes, known, FIRST, "o", label, apart=apart)
        line(axes, agreement, SECOND, "s", "agreement", apart=apart)
        if first is None or first.unit == "fraction":
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        else:
            axes.set_ylim(bottom=max(-LOWEST, axes.get_ylim()[0]))
        legend(axes, 3)

    title = "" if first is None else first.label
    what = f"{title[:1].upper()}{title[1:]} and agreement" if title else "Agreement"
    label = f"{what} over time steps; after the last, agreement is {percent(agreement[-1])}"
    return draw("accuracy", paint, size=(WIDTH, 3.5), label=label)


def energy_chart(report: Report) -> str:
    """The three energy ratios at every time step, and the ANN's line at 1."""
    energy, apart = report["energy"], by_layers(report)

    def paint(figure: Figure) -> None:
        axes = time_axes(figure, report["timesteps"])
        axes.axhline(1.0, color=INK, linestyle=(0, (5, 3)), linewidth=1.4, label="ANN")
        line(axes, energy["paper"], THIRD, "^", "paper", apart=apart)
        line(axes, energy["counted"], FIRST, "o", "counted", apart=apart)
        line(axes, energy["cached"], SECOND, "s", "cached", apart=apart)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("energy, ANN = 1")
        legend(axes, 4)

    label = f"Energy ratio over time steps; counted, {significant(energy['counted'][-1])} at last"
    return draw("energy", paint, size=(WIDTH, 3.5), label=label)


def sin_chart(report: Report, *, name: str = "sin", top: float | None = None) -> str:
    """The SIN ratio of every layer over time steps: the stronger the colour, the higher.

    The full colour stands for `top` (default: the largest ratio of the report).
    """
    total = report["timesteps"]
    halves = (round(2 ** (k / 2)) for k in range(2 * total.bit_length() + 1))
    known = report["layers"][0]["sin_ratio"]
    steps = sorted({total, *(s for s in halves if s < total and known[s - 1] is not None)})
    cells = np.array([[layer["sin_ratio"][s - 1] for s in steps] for layer in report["layers"]])

    def paint(figure: Figure) -> None:
        axes = layer_axes(figure, report)
        red, green, blue = (int(FIRST[i : i + 2], 16) / 255 for i in (1, 3, 5))
        shades = LinearSegmentedColormap.from_list(
            "sin", [(red, green, blue, 0.04), (red, green, blue, 1.0)], N=16
        )
        full = max(float(cells.max()) if top is None else top, 1e-6)
        mesh = axes.pcolormesh(cells, cmap=shades, vmin=0, vmax=full, edgecolor=CARD, linewidth=0.8)
        axes.set_xticks(*labels_of(steps))
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("time step")
        bar: Any = figure.colorbar(
            mesh, ax=axes, format=PercentFormatter(1.0, symbol=" %"), aspect=30
        )
        bar.outline.set_visible(False)
        bar.solids.set_rasterized(False)  # an embedded picture could not follow the page's colours

    label = "Share of neurons that fire though the ANN's are silent, by layer and time step"
    named = [layer["name"] for layer in report["layers"]]
    read = Cells(named, [str(step) for step in steps])
    return draw(name, paint, size=layer_size(report["layers"]), label=label, cells=read)


def time_axes(figure: Figure, total: int) -> Any:
    """Axes over the time steps 1 to `total`, on a doubling scale."""
    axes = figure.add_subplot()
    axes.set_xscale("log", base=2)
    axes.set_xlim(1 / 1.2, total * 1.2)
    ticks = [step for step in shown_steps(total) if 1.4 * step < total]
    ticks = [*ticks[:: math.ceil(len(ticks) / 9) or 1], total]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:.0f}"))
    axes.set_xlabel("time steps")
    return axes


def line(
    axes: Any,
    values: Sequence[float | None],
    colour: str,
    marker: str,
    label: str,
    *,
    apart: bool = False,
) -> None:
    """A line over the time steps, marked where steps are shown; points alone, one for each that was
    run, where every number of steps is a network of its own, and so stands `apart`."""
    known = {step: value for step, value in enumerate(values, start=1) if value is not None}
    if apart or len(known) < len(values):
        axes.plot(
            list(known), list(known.values()), color=colour, marker=marker, linestyle="",
            label=label,
        )  # fmt: skip
        return
    marked = [step - 1 for step in shown_steps(len(values))]
    axes.plot(list(known), values, color=colour, marker=marker, markevery=marked, label=label)


def legend(axes: Any, columns: int) -> None:
    """A legend in `columns` above the axes."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=columns, borderpad=0.2,
        columnspacing=1.2, handlelength=1.8, handletextpad=0.5,
    )  # fmt: skip


def layer_size(layers: Sequence[Any]) -> tuple[float, float]:
    """Width and height of a chart with a row for every layer."""
    return WIDTH, 0.9 + 0.22 * len(layers)


def layer_axes(figure: Figure, report: Report) -> Any:
    """One row per layer, the first at the top; row i spans i to i + 1."""
    axes = figure.add_subplot()
    names = distinct([layer["name"] for layer in report["layers"]])
    labels = [f"{i} {shortened(name, NAME_WIDTH)}" for i, name in enumerate(names, start=1)]
    axes.set_yticks(np.arange(len(names)) + 0.5, labels, fontsize=9.5)
    axes.set_ylim(len(names), 0)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_color(AXIS)
    return axes


def labels_of(steps: Sequence[int]) -> tuple[list[float], list[str]]:
    """Places and texts of the columns to be labelled: powers of two, and the last."""
    last = len(steps) - 1
    kept = [i for i, step in enumerate(steps) if i < last - 1 and step.bit_count() == 1] + [last]
    return [i + 0.5 for i in kept], [str(steps[i]) for i in kept]
