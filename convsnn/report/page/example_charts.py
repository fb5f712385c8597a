"""The charts of the samples that were looked at: outputs over time, rasters, potentials."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from convsnn.report.document import Report
from convsnn.report.page.charts import WIDTH, legend, time_axes
from convsnn.report.page.examples import output_name
from convsnn.report.svg import AXIS, FIRST, GRID, INK, SECOND, THIRD, draw
from convsnn.report.wording import distinct, shortened

LINES = (
    (FIRST, "-", "o"), (SECOND, "-", "s"), (THIRD, "-", "^"),
    (AXIS, "-", "v"), (INK, (0, (3, 2)), "D"),
)  # fmt: skip
NAME = 16  # characters of an output's name
MARKED = 25  # layers up to which each has a mark
LAYER = 20  # of a layer's


def outputs_chart(report: Report, sample: Mapping[str, Any], number: int) -> str:
    """Outputs of one sample up to each step; "" where there are none."""
    if not sample["outputs"]:
        return ""
    steps = report["examples"]["steps"]

    def paint(figure: Figure) -> None:
        axes = time_axes(figure, report["timesteps"])
        for one, (colour, stroke, marker) in zip(sample["outputs"], LINES, strict=False):
            name = shortened(output_name(report, one["output"]), NAME)
            axes.plot(
                steps, one["snn"], color=colour, linestyle=stroke, linewidth=1.6,
                marker=marker if len(steps) <= 16 else "", markersize=3.5, label=name,
            )  # fmt: skip
            # what the original answers stands at the right end
            axes.plot(
                [1.02], [one["ann"]], color=colour, marker="<", markersize=6,
                transform=axes.get_yaxis_transform(), clip_on=False, label="_ann",
            )  # fmt: skip
        axes.set_ylabel("output")
        legend(axes, 3)

    label = f"Leading outputs of sample {sample['sample']} up to each time step"
    return draw(f"example-{number}", paint, size=(WIDTH, 3.1), label=label)


def activity_chart(report: Report) -> str:
    """How active the layers were under each sample, beside the mean of all that were scored."""
    layers, samples = report["layers"], report["examples"]["samples"]
    names = distinct([layer["name"] for layer in layers])
    places = np.arange(1, len(layers) + 1)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for number, sample in enumerate(samples):
            lost = sample["kind"] in ("lost", "other")
            axes.plot(
                places, sample["activity"], color=SECOND if lost else FIRST,
                marker="o" if len(layers) <= MARKED else "",
                markersize=3.5, linewidth=1.0, alpha=0.75,
                label=f"{number + 1}: sample {sample['sample']}",
            )  # fmt: skip
        mean = [layer["firing_rate"][-1] for layer in layers]
        axes.plot(
            places, mean, color=INK, linestyle=(0, (5, 3)), linewidth=1.6, label="all samples"
        )
        axes.set_ylim(bottom=0)
        axes.set_ylabel("spikes per neuron and step")
        if len(layers) <= 8:
            texts = [f"{i} {shortened(name, 10)}" for i, name in enumerate(names, 1)]
            axes.set_xticks(places, texts, rotation=30 if len(layers) > 3 else 0, fontsize=9)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("layer")

    label = "Spikes per neuron and step of every layer under each of the samples"
    return draw("activity", paint, size=(WIDTH, 3.3), label=label)


def raster_chart(report: Report) -> str:
    """Spikes of some neurons of some layers over the first steps, a row for each; "" for none."""
    watched = report["examples"]["watched"]
    layers: Sequence[Mapping[str, Any]] = watched["layers"]
    if not layers:
        return ""
    names = distinct([layer["name"] for layer in layers])
    rows = sum(len(layer["neurons"]) for layer in layers)
    neurons = [f"neuron {n}" for layer in layers for n in layer["neurons"]]

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.fmt_ydata = lambda row: neurons[int(row)]
        start, middles = 0, []
        for place, (layer, name) in enumerate(zip(layers, names, strict=True)):
            points = [
                (step, start + row) for row, train in enumerate(layer["spikes"]) for step in train
            ]
            colour = (FIRST, SECOND, THIRD)[place % 3]
            if points:
                axes.plot(
                    *zip(*points, strict=True), color=colour, linestyle="", marker="|",
                    markersize=6, markeredgewidth=1.6, label=f"{place + 1} {name}",
                )  # fmt: skip
            count = len(layer["neurons"])
            middles.append(start + (count - 1) / 2)
            start += count
            if place < len(layers) - 1:
                axes.axhline(start - 0.5, color=GRID, linewidth=0.8)
        axes.set_ylim(rows - 0.5, -0.5)
        axes.yaxis.set_major_locator(FixedLocator(middles))
        texts = [shortened(name, LAYER) for name in names]
        axes.yaxis.set_major_formatter(
            FuncFormatter(lambda _, i: texts[i] if i is not None else "")
        )
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        _steps(axes, watched["steps"])

    label = f"Spikes of {rows} neurons over {watched['steps']} steps"
    return draw("raster", paint, size=(WIDTH, 0.8 + 0.125 * rows), label=label)


def potentials_chart(report: Report) -> str:
    """The potential of one neuron of some layers beside its threshold; "" for none."""
    watched = report["examples"]["watched"]
    traced = [layer for layer in watched["layers"] if layer.get("trace")]
    if not traced:
        return ""
    names = distinct([layer["name"] for layer in traced])
    steps = np.arange(1, watched["steps"] + 1)

    def paint(figure: Figure) -> None:
        rows: Any = figure.subplots(len(traced), 1, sharex=True, squeeze=False)
        for axes, layer, name in zip(rows[:, 0], traced, names, strict=True):
            trace = layer["trace"]
            axes.plot(
                steps, trace["threshold"], color=INK, linestyle=(0, (5, 3)), linewidth=1.2,
                drawstyle="steps-mid", label="threshold",
            )  # fmt: skip
            axes.plot(steps, trace["potential"], color=FIRST, linewidth=1.5, label="potential")
            spikes = layer["spikes"][0]
            axes.plot(
                spikes, [1.0] * len(spikes), color=SECOND, linestyle="", marker="|", markersize=8,
                markeredgewidth=1.6, transform=axes.get_xaxis_transform(), clip_on=False,
                label="_spikes",
            )  # fmt: skip
            axes.set_title(
                f"{shortened(name, LAYER)}, neuron {layer['neurons'][0]}", loc="left", fontsize=9.5
            )
        _steps(rows[-1, 0], watched["steps"])

    label = "Potential after each step and threshold of one neuron in each of some layers"
    height = 0.6 + 1.25 * len(traced)
    return draw("potentials", paint, size=(WIDTH, height), label=label)


def _steps(axes: Any, steps: int) -> None:
    """Time on a plain scale, in whole steps."""
    axes.set_xlim(0.5, steps + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("time steps")
