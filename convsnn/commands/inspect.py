"""`convsnn inspect`: before any work, what each layer becomes and what blocks the conversion."""

import json
import math
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from convsnn.commands import options
from convsnn.commands.blocking import print_blockers
from convsnn.errors import Blocker, ConfigError, LoadError, UnsupportedError
from convsnn.graph import Graph, Node
from convsnn.graph.ops import Role
from convsnn.load.verify import allowed_gap, gaps
from convsnn.measure import energy
from convsnn.report.wording import counted
from convsnn.workflows.subject.source import find_source

_BECOMES = {
    Role.INPUT: "input",
    Role.LINEAR: "computed on spikes",
    Role.ACTIVATION: "neurons",
    Role.MAX_POOL: "running-sum pooling",
    Role.READOUT: "readout, applied to the mean answer",
    Role.BLOCKED: "BLOCKED",
}
_FOLLOWS = "behind what is blocked"


def inspect(
    model: options.Model,
    *,
    weights: options.Weights = None,
    input_shape: options.InputShape = None,
    verify: options.Verify = False,
    as_json: options.Json = False,
) -> int:
    """Show what each layer becomes and what blocks; exit 1 where something does."""
    source = find_source(model, weights=weights, input_shape=options.shape(input_shape))
    if source.input_shape is None:
        raise ConfigError(
            f"'{model}' does not say what input it takes", hint="give --input-shape, like 3,32,32"
        )
    generator = torch.Generator().manual_seed(0)
    example = torch.randn(2, *source.input_shape, generator=generator)
    try:
        graph = source.graph(example)
    except UnsupportedError as error:
        if not error.items:
            raise
        items = [vars(item) for item in error.items]
        found: dict[str, Any] = {"model": model, "layers": [], "sites": 0, "blockers": items}
    else:
        found = {"model": model, **_describe(graph), "parameters": source.parameters(graph)}
    blocked = bool(found["blockers"]) or not found["sites"]
    if verify and not blocked:
        measured = gaps(graph, source.reference(), example)
        found["tolerance"] = allowed_gap(graph, source.reference(), example)
        found["verify"] = {k: gap if math.isfinite(gap) else None for k, gap in measured.items()}
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        _print(found)
    differs = any(not _equal(found, gap) for gap in found.get("verify", {}).values())
    return 1 if blocked or differs else 0


def _equal(found: dict[str, Any], gap: float | None) -> bool:
    return gap is not None and gap <= found["tolerance"]


def _describe(graph: Graph) -> dict[str, Any]:
    blockers = {b.layer: b for b in graph.blockers()}
    try:
        shapes = dict(graph.shapes)
    except LoadError:
        if not blockers:
            raise
        shapes = {}  # behind what is refused, shapes may be unknown
    return {
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
        "blockers": [vars(b) for b in blockers.values()],
    }


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


def _print(found: dict[str, Any]) -> None:
    console = Console(highlight=False)
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
    console.print(table)
    if folded := len(found["layers"]) - len(shown):
        console.print(f"and {counted(folded, 'op')} {_FOLLOWS}, not shown")
    if found["layers"]:
        counts = f"{found['sites']} activations become neurons; {found['parameters']:,} parameters"
        console.print(f"\n{counts}")
    if not found["sites"] and not found["blockers"]:
        console.print("no activation could become a neuron: it cannot be converted", style="red")
    if found["blockers"]:
        console.print()
        print_blockers([Blocker(**item) for item in found["blockers"]], console)
        console.print(f"{len(found['blockers'])} place(s) block the conversion", style="red")
    for name, gap in found.get("verify", {}).items():
        equal = _equal(found, gap)
        size = "not finite, or of another shape" if gap is None else f"gap {gap:.1e} of its scale"
        line = f"output '{name}' against the original: {'equal' if equal else 'DIFFERENT'} ({size})"
        console.print(line, markup=False)
