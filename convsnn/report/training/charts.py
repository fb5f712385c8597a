"""The charts of a training: thresholds, firing rates and accuracy over its epochs, as `<svg>`."""

from collections.abc import Mapping
from typing import Any, Literal

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from convsnn.report.page.charts import NAME_WIDTH, WIDTH, legend
from convsnn.report.svg import AXIS, FIRST, SECOND, THIRD, draw
from convsnn.report.training.words import words
from convsnn.report.wording import distinct, percent, shortened

STROKES = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
COLOURS = (FIRST, SECOND, THIRD, AXIS)
_AXES = {
    "thresholds": "mean threshold",
    "rates": "spikes per neuron and step",
    "dead": "neurons without a spike",
    "silent": "neurons without a spike",
    "moved": "way from the first weights",
    "settled": "way to the last weights",
}
_SHARES = ("dead", "silent")


def layers_chart(
    document: Mapping[str, Any],
    what: Literal["thresholds", "rates", "dead", "silent", "moved", "settled"],
) -> str:
    """A line for every layer over the epochs, of every seed; colours tell the layers apart."""
    runs = document["runs"]
    names = list(runs[0]["epochs"][-1][what])
    shown = dict(zip(names, distinct(names), strict=True))

    def paint(figure: Figure) -> None:
        axes = _axes(figure)
        axes.set_ylabel(_AXES[what])
        if what in _SHARES:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        for place, name in enumerate(names):
            style = STROKES[place // len(COLOURS) % len(STROKES)]
            colour = COLOURS[place % len(COLOURS)]
            for run in runs:
                axes.plot(
                    [epoch["number"] for epoch in run["epochs"]],
                    [epoch[what][name] for epoch in run["epochs"]],
                    color=colour, linestyle=style, marker="o", markersize=2.5, linewidth=1.4,
                    label=shortened(shown[name], NAME_WIDTH) if run is runs[0] else None,
                )  # fmt: skip
        if len(names) <= 12:
            legend(axes, 2)

    label = f"{_AXES[what].capitalize()} of {len(names)} layers over the epochs of the training"
    height = 3.4 + 0.2 * (len(names) // 2 if len(names) <= 12 else 0)
    return draw(what, paint, size=(WIDTH, height), label=label)


def histogram_chart(document: Mapping[str, Any]) -> str:
    """How many neurons send how many spikes to a test sample, a row for every layer."""
    known = document["runs"][0]["histograms"]
    names = list(known)
    shown = distinct(names)

    def paint(figure: Figure) -> None:
        rows: Any = figure.subplots(len(names), 1, squeeze=False)
        for axes, name, title in zip(rows[:, 0], names, shown, strict=True):
            edges, neurons = known[name]["edges"], known[name]["neurons"]
            axes.stairs(neurons, edges, fill=True, color=FIRST)
            dead = percent(known[name]["dead"])
            axes.set_title(f"{shortened(title, NAME_WIDTH)}: {dead} without a spike", loc="left")
            axes.set_ylabel("neurons")
        rows[-1, 0].set_xlabel("mean number of spikes for a test sample")

    label = f"Histograms of the spikes of {len(names)} layers of neurons"
    return draw("histograms", paint, size=(WIDTH, 0.6 + 1.5 * len(names)), label=label)


def progress_chart(document: Mapping[str, Any]) -> str:
    """Accuracy on the training images and on what was held out of them, over the epochs."""

    def paint(figure: Figure) -> None:
        axes = _axes(figure)
        for run in document["runs"]:
            first = run is document["runs"][0]
            for key, colour in (("accuracy", FIRST), ("held_out", SECOND)):
                points = [(e["number"], e[key]) for e in run["epochs"] if e[key] is not None]
                if points:
                    name = "training images" if key == "accuracy" else "held out of them"
                    axes.plot(
                        *zip(*points, strict=True), color=colour, marker="o", markersize=2.5,
                        linewidth=1.4, label=name if first else None,
                    )  # fmt: skip
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        legend(axes, 2)

    last = document["runs"][0]["epochs"][-1]["accuracy"]
    what = words(document).watched.capitalize()
    label = f"{what} over the epochs; after the last {percent(last)} on the training images"
    return draw("progress", paint, size=(WIDTH, 3.4), label=label)


def _axes(figure: Figure) -> Any:
    axes: Any = figure.add_subplot()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")
    return axes
