"""The charts of a diagnosis, a row for every layer: its error by cause, its bias, its neurons."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from convsnn.measure.decomposition import PARTS
from convsnn.report.diagnosis.document import NAMES
from convsnn.report.page.charts import layer_axes, layer_size, legend
from convsnn.report.svg import AXIS, FIRST, SECOND, THIRD, draw

# one family of colours for what a layer makes itself, another for what comes from those before
COLOURS: Mapping[str, tuple[str, float]] = {
    "clipping": (SECOND, 1.0),
    "quantisation": (SECOND, 0.5),
    "sin": (FIRST, 1.0),
    "inherited": (AXIS, 0.5),
    "uneven": (FIRST, 0.5),
}
_NEURONS = {
    "sin_ratio": ("wrongly firing", FIRST),
    "dead": ("dead", AXIS),
    "above": ("saturated", SECOND),
}


def error_chart(document: Mapping[str, Any]) -> str:
    """The error of every layer, divided as its square is by cause; a part below zero makes up for
    others."""
    layers = document["layers"]

    def paint(figure: Figure) -> None:
        axes = layer_axes(figure, document)
        after, before = np.zeros(len(layers)), np.zeros(len(layers))
        for part in PARTS:
            shares = [(layer["shares"] or {}).get(part, 0.0) for layer in layers]
            sizes = np.array(shares) * [layer["error"] or 0.0 for layer in layers]
            colour, alpha = COLOURS[part]
            axes.barh(
                np.arange(len(layers)) + 0.5, sizes, height=0.66, color=colour, alpha=alpha,
                left=np.where(sizes < 0, before, after), label=NAMES[part],
            )  # fmt: skip
            after += sizes.clip(min=0)
            before += sizes.clip(max=0)
        _finish(axes, "error, in parts of the activations", columns=3)

    return draw("error", paint, size=_size(layers), label="Error of every layer, by cause")


def bias_chart(document: Mapping[str, Any]) -> str:
    """By how much every layer sends too little (left) or too much (right) on average."""
    layers = document["layers"]

    def paint(figure: Figure) -> None:
        axes = layer_axes(figure, document)
        sizes = [layer["mean_error"] or 0.0 for layer in layers]
        axes.barh(np.arange(len(layers)) + 0.5, sizes, height=0.66, color=THIRD)
        reach = 1.15 * max(*map(abs, sizes), 0.01)
        axes.set_xlim(-reach, reach)
        axes.axvline(0, color=AXIS, linewidth=0.8)
        _finish(axes, "too little is sent (below 0) or too much, of the activations", columns=0)

    return draw("bias", paint, size=_size(layers), label="Mean error of every layer")


def neurons_chart(document: Mapping[str, Any]) -> str:
    """Of every layer the shares of neurons that fire wrongly, never, or as much as they can."""
    layers = document["layers"]

    def paint(figure: Figure) -> None:
        axes = layer_axes(figure, document)
        height = 0.8 / len(_NEURONS)
        for place, (key, (name, colour)) in enumerate(_NEURONS.items()):
            rows = np.arange(len(layers)) + 0.1 + (place + 0.5) * height
            axes.barh(rows, [x[key] for x in layers], height=height, color=colour, label=name)
        axes.set_xlim(left=0)
        _finish(axes, "share of the neurons", columns=3)

    return draw("neurons", paint, size=_size(layers, 1.25), label="Wrong, dead, saturated neurons")


def _size(layers: Sequence[Any], taller: float = 1.0) -> tuple[float, float]:
    width, height = layer_size(layers)
    return width, taller * height + 0.4


def _finish(axes: Any, title: str, *, columns: int) -> None:
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.set_xlabel(title)
    if columns:
        legend(axes, columns)
