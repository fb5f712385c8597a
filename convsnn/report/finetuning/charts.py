"""The charts of fine-tuning: scores before and after, loss and accuracy over epochs, thresholds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from convsnn.report.page.charts import WIDTH, layer_axes, layer_size, legend, line, time_axes
from convsnn.report.svg import AXIS, FIRST, INK, SECOND, THIRD, draw
from convsnn.report.wording import percent

BEFORE, AFTER = AXIS, FIRST
_TIMES = (("before", BEFORE), ("after", AFTER))


def score_chart(document: Mapping[str, Any]) -> str:
    """The score after every step, as converted and as trained, and the original's."""
    score = document["score"]

    def paint(figure: Figure) -> None:
        axes = time_axes(figure, document["timesteps"])
        if score["ann"] is not None:
            axes.axhline(score["ann"], color=INK, linestyle=(0, (5, 3)), linewidth=1.4, label="ANN")
        line(axes, _known(document["before"]["score"]), BEFORE, "s", "as converted")
        line(axes, _known(document["after"]["score"]), AFTER, "o", "trained")
        if score["unit"] == "fraction":
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        axes.set_ylabel(score["label"])
        legend(axes, 3)

    label = f"{score['label'].capitalize()} over time steps before and after training"
    return draw("score", paint, size=(WIDTH, 3.5), label=label)


def _known(values: Sequence[float | None]) -> Sequence[float | None]:
    """A score that has no value where a network was run is a gap; of one that was not, no point."""
    return values if any(value is not None for value in values) else [math.nan]


def loss_chart(document: Mapping[str, Any]) -> str:
    """The mean loss of every epoch."""
    epochs = document["epochs"]

    def paint(figure: Figure) -> None:
        axes = _epoch_axes(figure)
        numbers = [epoch["number"] for epoch in epochs]
        axes.plot(numbers, [e["loss"] for e in epochs], color=SECOND, marker="o", label="loss")
        axes.set_ylim(bottom=0)
        axes.set_ylabel("loss")

    label = f"Loss over {len(epochs)} epochs"
    return draw("loss", paint, size=(WIDTH, 3.2), label=label)


def accuracy_chart(document: Mapping[str, Any]) -> str:
    """Accuracy on the images of training and on those that were held out of them."""
    epochs = document["epochs"]

    def paint(figure: Figure) -> None:
        axes = _epoch_axes(figure)
        for key, name, colour in (
            ("accuracy", "training images", FIRST),
            ("held_out", "held out of them", THIRD),
        ):
            known = [(e["number"], e[key]) for e in epochs if e[key] is not None]
            if known:
                axes.plot(*zip(*known, strict=True), color=colour, marker="o", label=name)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        axes.set_ylabel("accuracy")
        legend(axes, 2)

    last = percent(epochs[-1]["accuracy"])
    label = f"Accuracy over {len(epochs)} epochs; after the last {last} on training images"
    return draw("epochs", paint, size=(WIDTH, 3.2), label=label)


def threshold_chart(document: Mapping[str, Any]) -> str:
    """Of every layer the mean threshold before and after, with the range over its channels."""
    layers = document["layers"]

    def paint(figure: Figure) -> None:
        axes = _paired(figure, document, lambda layer, time: layer["threshold"][time]["mean"])
        for place, (time, _) in enumerate(_TIMES):
            rows = _rows(layers, place)
            ends = [layer["threshold"][time] for layer in layers]
            axes.hlines(
                rows, [e["min"] for e in ends], [e["max"] for e in ends], color=INK, linewidth=1.0
            )
        ends = [layer["threshold"][time]["max"] for layer in layers for time, _ in _TIMES]
        axes.set_xlim(right=1.05 * max(ends))
        axes.set_xlabel("threshold: mean and range, in activations of the ANN")

    return _layers_drawn("threshold", paint, layers, "Threshold of every layer before and after")


def rate_chart(document: Mapping[str, Any]) -> str:
    """Of every layer the spikes per neuron and step before and after."""
    layers = document["layers"]

    def paint(figure: Figure) -> None:
        axes = _paired(figure, document, lambda layer, time: layer["firing_rate"][time])
        axes.set_xlabel("spikes per neuron and step")

    return _layers_drawn("rates", paint, layers, "Firing rate of every layer before and after")


def _layers_drawn(name: str, paint: Any, layers: Sequence[Any], label: str) -> str:
    width, height = layer_size(layers)
    return draw(name, paint, size=(width, 0.3 + 1.4 * height), label=label)


def _paired(figure: Figure, document: Mapping[str, Any], value: Any) -> Any:
    """Two bars for every layer."""
    layers, axes = document["layers"], layer_axes(figure, document)
    for place, (time, colour) in enumerate(_TIMES):
        sizes = [value(layer, time) for layer in layers]
        name = "as converted" if time == "before" else "trained"
        axes.barh(_rows(layers, place), sizes, height=0.34, color=colour, label=name)
    axes.grid(visible=False, axis="y")
    axes.set_xlim(left=0)
    legend(axes, 2)
    return axes


def _rows(layers: Sequence[Any], place: int) -> Any:
    return np.arange(len(layers)) + 0.32 + 0.36 * place


def _epoch_axes(figure: Figure) -> Any:
    axes: Any = figure.add_subplot()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")
    return axes
