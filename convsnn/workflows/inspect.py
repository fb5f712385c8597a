"""Before any work: what each layer of a network becomes, and what blocks the conversion."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from torch import Tensor, nn

from convsnn.errors import Blocker, ConfigError, LoadError, UnsupportedError
from convsnn.graph import Graph, Node
from convsnn.graph.ops import Role
from convsnn.graph.ops.base import SMOOTH
from convsnn.load.verify import allowed_gap, gaps
from convsnn.measure import energy
from convsnn.report.refusals import fatal_first, render_blockers
from convsnn.report.sheets import Sheet
from convsnn.report.wording import counted
from convsnn.spiking.kinds import kind_of
from convsnn.workflows.running.result import Result
from convsnn.workflows.subject.given import Images, as_part, require_shape
from convsnn.workflows.subject.named_data import natural_shape
from convsnn.workflows.subject.source import Source, source_of

_BECOMES = {
    Role.INPUT: "input",
    Role.LINEAR: "computed on spikes",
    Role.ACTIVATION: "neurons",
    Role.MAX_POOL: "running-sum pooling",
    Role.FUNCTION: "analog: a function of accumulated values",
    Role.PRODUCT: "graded: a product of two values",
    Role.READOUT: "readout, applied to the mean answer",
    Role.BLOCKED: "BLOCKED",
}
_LAYER = dict.fromkeys(("name", "op", "shape", "macs", "becomes", "source"), "")
_BLOCKER = ("layer", "op", "reason", "remedy", "source")
_FOLLOWS = "behind what is blocked"


@dataclass(frozen=True, repr=False)
class Inspection(Result):
    """The layers and what each becomes, the blockers, and where asked for the gaps of outputs."""

    @property
    def converts(self) -> bool:
        """Whether nothing blocks, there is an activation, and verified outputs are equal."""
        found = self.document
        differs = any(not _equal(found, gap) for gap in found.get("verify", {}).values())
        return bool(not found["blockers"] and _neurons(found) and not differs)

    def about(self) -> str:
        """How many activations become neurons, and how many places block."""
        found = self.document
        return f"{found['sites']} activations, {len(found['blockers'])} place(s) block"

    def sheets(self) -> Sequence[Sheet]:
        """See `Tabled`."""
        return [
            Sheet("layers", _LAYER, self.document["layers"]),
            Sheet("blockers", dict.fromkeys(_BLOCKER, ""), self.document["blockers"]),
        ]

    def render(self, *, width: int) -> RenderableType:
        """The table of layers, the blockers, the verdict."""
        del width  # it folds
        return Group(*_lines(self.document))


def inspect(
    model: nn.Module | Graph | str | Path,
    data: Images | str | None = None,
    *,
    weights: str | Path | None = None,
    input_shape: Sequence[int] | None = None,
    answer: str | None = None,
    verify: bool = False,
) -> Inspection:
    """What each layer of `model` becomes and what blocks its conversion; nothing is calibrated.

    What input a torch module takes is told by `input_shape` (of one sample, without the batch) or
    by `data`, images or the name of a data set as for `convsnn.convert`.
    `verify` compares the imported network with the original on two images, else on random input.
    Raises ConfigError where nobody knows what input it takes or images are of another shape,
    LoadError where it cannot be read.
    """
    name = str(model) if isinstance(model, str | Path) else type(model).__name__
    try:
        source = source_of(
            model,
            weights=None if weights is None else Path(weights),
            input_shape=None if input_shape is None else tuple(input_shape),
            answer=answer,
        )
        example = _example(source, name, data)
        graph = source.graph(example)
    except UnsupportedError as error:
        return Inspection({"model": name, **_refused(error, name)})
    found: dict[str, Any] = {
        "model": name,
        **_describe(graph),
        "parameters": source.parameters(graph),
    }
    if verify and _neurons(found) and not found["blockers"]:
        measured = gaps(graph, source.reference(), example)
        found["tolerance"] = allowed_gap(graph, source.reference(), example, max(measured.values()))
        found["verify"] = {k: gap if math.isfinite(gap) else None for k, gap in measured.items()}
    return Inspection(found)


def _example(source: Source, name: str, data: Images | str | None) -> Tensor:
    """Two samples (2, *input shape): the first of images given in Python, else random ones."""
    if not (data is None or isinstance(data, str)):
        part = as_part(data)
        require_shape(part, source.input_shape)
        first = range(min(2, len(part)))
        return next(part.batches(2, indices=first))[0]
    shape = source.input_shape
    if shape is None and data is not None:
        shape = natural_shape(data, source.preprocessing.resize)
    if shape is None:
        raise ConfigError(
            f"'{name}' does not say what input it takes",
            hint="give --input-shape, like 3,32,32",
        )
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))


def _refused(error: UnsupportedError, model: str) -> dict[str, Any]:
    """What is known where there is no graph: the places that block, or only that the whole does."""
    items = error.items or (Blocker(model, "network", str(error), error.hint),)
    layers = [
        {
            "name": item.layer,
            "op": item.op,
            "shape": None,
            "macs": None,
            "becomes": "BLOCKED",
            "source": item.source,
        }
        for item in items
    ]
    blockers = [vars(item) for item in fatal_first(items)]
    return {"layers": layers, "sites": 0, "blockers": blockers}


def _equal(found: Mapping[str, Any], gap: float | None) -> bool:
    return gap is not None and gap <= found["tolerance"]


def _describe(graph: Graph) -> dict[str, Any]:
    blockers = {b.layer: b for b in graph.blockers()}
    try:
        shapes = dict(graph.shapes)
    except LoadError:
        if not blockers:
            raise
        shapes = {}  # behind what is refused, shapes may be unknown
    smooth = [node for node in graph.nodes if node.role in SMOOTH]
    return {
        "kind": kind_of(graph, []),
        "layers": [
            {
                "name": node.name,
                "op": node.attrs["kind"] if node.role is Role.BLOCKED else node.op,
                "shape": list(shapes[node.name]) if node.name in shapes else None,
                "macs": energy.macs(graph, node) if shapes else None,
                "becomes": _becomes(node, node.name in blockers),
                "source": node.source,
            }
            for node in graph.nodes
        ],
        "sites": sum(n.role is Role.ACTIVATION for n in graph.nodes),
        "smooth": len(smooth),
        "blockers": [vars(b) for b in fatal_first([*blockers.values()])],
    }


def _neurons(found: Mapping[str, Any]) -> int:
    """Activations, functions and products: where neurons stand or stand behind."""
    return int(found["sites"]) + int(found.get("smooth", 0))


def _becomes(node: Node, blocked: bool) -> str:
    if blocked:
        return "BLOCKED"
    if node.role is Role.BLOCKED:
        return _FOLLOWS
    if node.op == "clip":
        return f"neurons, threshold at most {node.attrs['ceiling']:g}"
    if node.op == "quantized_clip":
        levels = counted(node.attrs["levels"], "level")
        return f"neurons, threshold {node.attrs['ceiling']:g} as trained, {levels}"
    if node.op == "leaky_relu":
        return "neurons with signed spikes"
    return _BECOMES[node.role]


def _lines(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    table = Table("layer", "op", "shape", "MACs", "becomes", box=None, pad_edge=False)
    table.columns[3].justify = "right"
    shown = [layer for layer in found["layers"] if layer["becomes"] != _FOLLOWS]
    for layer in shown:
        becomes = Text(layer["becomes"], style="red" if layer["becomes"] == "BLOCKED" else "")
        table.add_row(
            Text(layer["name"]),
            layer["op"],
            "x".join(map(str, layer["shape"])) if layer["shape"] is not None else "?",
            f"{layer['macs']:,}" if layer["macs"] else "",
            becomes,
        )
    yield table
    if folded := len(found["layers"]) - len(shown):
        yield f"and {counted(folded, 'op')} {_FOLLOWS}, not shown"
    if "parameters" in found:
        counts = f"{found['sites']} activations become neurons; {found['parameters']:,} parameters"
        if found.get("smooth"):
            yield f"\n{found['kind']} network: {found['smooth']} functions and products"
        yield f"\n{counts}"
    if not _neurons(found) and not found["blockers"]:
        yield Text("no activation could become a neuron: it cannot be converted", "red")
    if found["blockers"]:
        yield ""
        yield render_blockers([Blocker(**item) for item in found["blockers"]])
        yield Text(f"{len(found['blockers'])} place(s) block the conversion", "red")
    for name, gap in found.get("verify", {}).items():
        equal = _equal(found, gap)
        size = "not finite, or of another shape" if gap is None else f"gap {gap:.1e} of its scale"
        line = f"output '{name}' against the original: {'equal' if equal else 'DIFFERENT'} ({size})"
        yield Text(line)
