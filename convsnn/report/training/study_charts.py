"""The charts of a study, a line for every row: accuracy, dead neurons, weights, thresholds."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from convsnn.report.page.charts import NAME_WIDTH, WIDTH, legend
from convsnn.report.svg import draw
from convsnn.report.training.charts import COLOURS, STROKES
from convsnn.report.training.words import words
from convsnn.report.wording import distinct, shortened

_SHARES = ("accuracy", "dead")
_MOST = 6  # layers that have a chart each


def accuracy_chart(document: Mapping[str, Any]) -> str:
    """Accuracy on training samples over the epochs, the first seed of every row."""

    def values(run: Mapping[str, Any]) -> list[float]:
        return [epoch["accuracy"] for epoch in run["epochs"]]

    row = next(iter(document["rows"].values()))
    label = f"{words(row).watched.capitalize()} on training samples over the epochs"
    return _chart(document, "accuracy", values, label)


def layer_charts(document: Mapping[str, Any], what: str) -> list[tuple[str, str]]:
    """For every layer its name and a chart of `what` over the epochs; none where there are many,
    rows have other layers or an epoch has none."""
    runs = [row["runs"][0] for row in document["rows"].values()]
    names = [tuple(epoch.get(what, {})) for run in runs for epoch in run["epochs"]]
    if len(set(names)) != 1 or not 0 < len(names[0]) <= _MOST:
        return []
    shown = distinct(list(names[0]))
    return [
        (title, _chart(document, what, _of_layer(what, name), f"{what} of {title}, layer {place}"))
        for place, (name, title) in enumerate(zip(names[0], shown, strict=True))
    ]


def _of_layer(what: str, name: str) -> Callable[[Mapping[str, Any]], Sequence[float]]:
    return lambda run: [epoch[what][name] for epoch in run["epochs"]]


def _chart(
    document: Mapping[str, Any],
    what: str,
    values: Callable[[Mapping[str, Any]], Sequence[float]],
    label: str,
) -> str:
    def paint(figure: Figure) -> None:
        axes: Any = figure.add_subplot()
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlabel("epoch")
        if what in _SHARES:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        for place, (name, row) in enumerate(document["rows"].items()):
            found = values(row["runs"][0])
            axes.plot(
                range(1, len(found) + 1), found, color=COLOURS[place % len(COLOURS)],
                linestyle=STROKES[place // len(COLOURS) % len(STROKES)], marker="o",
                markersize=2.5, linewidth=1.4, label=shortened(name, NAME_WIDTH),
            )  # fmt: skip
        legend(axes, 2)

    key = "".join(c if c.isalnum() else "-" for c in label)
    return draw(key, paint, size=(WIDTH, 3.4 + 0.1 * len(document["rows"])), label=label)
