"""The diagnosis of a spiking network as one document, and as text for a terminal.

The document is described where it is printed, in `convsnn.commands.diagnose`.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from convsnn.measure.decomposition import PARTS, Decomposition, LayerError
from convsnn.measure.evaluate import answers_classes
from convsnn.report.page.assemble import versions
from convsnn.report.wording import counted, neurons_named, percent, points, significant
from convsnn.spiking.network import Spiking

CAUSES = tuple(part for part in PARTS if part != "inherited")
LOST = 0.5  # an error of half the activations leaves little of them

NAMES = {
    "clipping": "clipping",
    "quantisation": "quantisation",
    "sin": "SIN",
    "inherited": "inherited",
    "uneven": "uneven",
}
_HEADINGS = {
    "clipping": "clip",
    "quantisation": "quant",
    "sin": "SIN",
    "inherited": "inherit",
    "uneven": "uneven",
}
_LEGEND = (
    "Root mean squares in % of the layer's activations. Made in the layer: clip, more than it can "
    "send; quant, the coarse levels of few steps. From the layers before: SIN, spikes of neurons "
    "that the ANN keeps silent; inherit, a wrong mean input; uneven, the right input at the wrong "
    "time. Wrong: share of the ANN's silent neurons that fire."
)


def diagnosis(net: Spiking, found: Decomposition, *, header: Mapping[str, Any]) -> dict[str, Any]:
    """The document without its findings; `header` has command, seed, timesteps, model, method
    and data."""
    graph = net.graph
    classes = graph.shapes[graph.outputs[0]][0] if answers_classes(net) else None
    largest = max(found.layers, key=lambda layer: layer.error or 0.0)
    maker = max(found.layers, key=lambda layer: layer.made_here or 0.0)
    lost = (layer.name for layer in found.layers if (layer.error or 0.0) > LOST)
    return {
        "schema": 1,
        "convsnn": versions()["convsnn"],
        **header,
        "ann": {"accuracy": found.ann_accuracy, "classes": classes},
        "snn": {"accuracy": found.accuracy, "agreement": found.agreement},
        "output_error": found.output_error,
        "causes": _causes(found),
        "worst": largest.name if largest.error else None,
        "made_here": maker.name if maker.made_here else None,
        "lost": next(lost, None),
        "layers": [_layer(net, layer) for layer in found.layers],
        "findings": [],
    }


def _causes(found: Decomposition) -> dict[str, float] | None:
    """Squares relative to each layer's activations, so that every layer counts alike."""
    squares = dict.fromkeys(CAUSES, 0.0)
    for layer in found.layers:
        for part in CAUSES:
            squares[part] += (layer.rms or {}).get(part, 0.0) ** 2
    total = sum(squares.values())
    return {part: square / total for part, square in squares.items()} if total else None


def _layer(net: Spiking, layer: LayerError) -> dict[str, Any]:
    planned = net.plan.sites[layer.name]
    threshold = planned.threshold.double()
    return {
        "name": layer.name,
        "kind": net.kinds[layer.name],
        "neurons": layer.neurons,
        "threshold": {
            "min": float(threshold.min()),
            "mean": float(threshold.mean()),
            "max": float(threshold.max()),
        },
        "start": float((planned.potential.double() / threshold).mean()),
        **{key: value for key, value in asdict(layer).items() if key not in ("name", "neurons")},
    }


def render_diagnosis(document: Mapping[str, Any]) -> RenderableType:
    """A rich renderable that needs 80 columns and no colour: names fold."""
    return Group(
        _heading(document),
        _title("What was found, and what to try"),
        *_findings(document),
        _title(f"Error of every layer after {counted(document['timesteps'], 'step')}"),
        _table(document),
        Text(f"\n{_LEGEND}"),
    )


def _title(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _heading(document: Mapping[str, Any]) -> Text:
    data, ann, snn = document["data"], document["ann"]["accuracy"], document["snn"]
    steps = counted(document["timesteps"], "time step")
    where = f"{counted(data['samples'], 'sample')} of {data['source']} ({data['split']})"
    method = f"{document['method']['calibration']}, neuron {neurons_named(document)}"
    lines = [f"{document['model']['name']} by {method}", f"{steps}, {where}"]
    if ann is not None:
        drop = points(ann - snn["accuracy"])
        lines.append(f"accuracy {percent(snn['accuracy'])}, ANN {percent(ann)}, drop {drop} points")
    agreement = snn["agreement"]
    same = "" if agreement is None else f", same answer as the ANN {percent(agreement)}"
    error = document["output_error"]
    lines.append(f"error of the outputs {'-' if error is None else percent(error)}{same}")
    return Text("\n".join([*lines, *_where(document)]))


def _where(document: Mapping[str, Any]) -> list[str]:
    errors = {layer["name"]: layer for layer in document["layers"]}
    lines = []
    if document["worst"]:
        worst = document["worst"]
        lines.append(f"worst layer: {worst} (error {percent(errors[worst]['error'])})")
    if document["made_here"]:
        maker = document["made_here"]
        own = percent(errors[maker]["made_here"])
        lines.append(f"most error made in the layer itself: {maker} ({own})")
    if document["lost"]:
        lines.append(f"first layer with an error above {percent(LOST)}: {document['lost']}")
    return lines


def _findings(document: Mapping[str, Any]) -> list[RenderableType]:
    shown: list[RenderableType] = []
    for number, finding in enumerate(document["findings"], start=1):
        shown.append(Text(f"{number}. {finding['finding']}", style="bold"))
        lines = [finding["reason"], *(f"try: {option}" for option in finding["try"])]
        shown.append(Padding(Text("\n".join(lines)), (0, 0, 0, 3), expand=False))
    return shown


def _table(document: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    columns = ("layer", "error", *(_HEADINGS[part] for part in PARTS), "wrong", "dead")
    for number, column in enumerate(columns):
        justify: Literal["left", "right"] = "left" if number == 0 else "right"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=number > 0)
    for layer in document["layers"]:
        rms = layer["rms"] or dict.fromkeys(PARTS)
        table.add_row(
            Text(layer["name"]),
            *(hundredths(value) for value in (layer["error"], *(rms[part] for part in PARTS))),
            *(hundredths(layer[key]) for key in ("sin_ratio", "dead")),
            style="bold" if layer["name"] == document["worst"] else "",
        )
    return table


def hundredths(fraction: float | None) -> str:
    """A fraction in per cent with one decimal; three digits where it is large."""
    if fraction is None:
        return "-"
    return f"{100 * fraction:.1f}" if fraction < 10 else significant(100 * fraction)
