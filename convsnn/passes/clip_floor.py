"""Folds the staircase that a network was trained with into one activation, exactly.

QCFS (Bu et al. 2022) and the uniform quantizers of PACT and LSQ are chains of
numbers: x times a plus b, bounded, rounded down, times a' plus b', bounded. Such a chain is

    y = step * clip(floor(gain * x / step + offset), 0, levels)

and becomes `quantized_clip` with ceiling step * levels, behind a factor where `gain` is not one.
A chain without an upper bound, or one that reaches below zero, stays in pieces and blocks.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from convsnn.graph import Graph, Node
from convsnn.passes.edit import only_reader, rebuild

_CLOSE = 1e-5  # of a level: what float32 leaves of numbers that were whole
_DIFFERENT = (
    "a rounding whose steps differ between channels or neurons; a clip-floor activation becomes "
    "neurons where its steps are the same in the whole layer"
)
_ONE = "retrain with one threshold for each layer, as QCFS has it"
MOST = 1 << 16  # levels; beyond it rounding is not what makes the network what it is


@dataclass(frozen=True)
class _Ramp:
    """x -> min(max(slope * x + offset, low), high), with a positive slope."""

    slope: float = 1.0
    offset: float = 0.0
    low: float = -math.inf
    high: float = math.inf

    def then(self, graph: Graph, node: Node) -> "_Ramp | None":
        """The ramp with one more op behind it, or None where the op makes no ramp of it."""
        if node.op in ("scale", "add_constant"):
            constant = graph.tensors[node.inputs[1]]
            if constant.numel() != 1:
                return None
            number = float(constant)
            if node.op == "scale":
                return self._times(number) if number > 0 else None
            moved = (self.offset + number, self.low + number, self.high + number)
            return replace(self, offset=moved[0], low=moved[1], high=moved[2])
        low, high = -math.inf, math.inf
        if node.op in ("relu", "clip"):
            low, high = 0.0, node.attrs.get("ceiling", math.inf)
        elif node.op == "clamp":
            given = node.attrs["low"], node.attrs["high"]
            low, high = (
                (-math.inf if given[0] is None else given[0]),
                (math.inf if given[1] is None else given[1]),
            )
        elif node.op != "identity":
            return None
        return replace(self, low=min(max(self.low, low), high), high=min(max(self.high, low), high))

    def _times(self, factor: float) -> "_Ramp":
        return _Ramp(
            self.slope * factor, self.offset * factor, self.low * factor, self.high * factor
        )


@dataclass(frozen=True)
class _Stairs:
    """y = step * clip(floor(gain * x / step + offset), 0, levels)."""

    step: float
    gain: float
    offset: float
    levels: int
    even: bool


def _snapped(value: float) -> float:
    """The whole number that `value` was before it was rounded to float32."""
    near = round(value) if math.isfinite(value) else value
    return float(near) if abs(value - near) <= _CLOSE * max(1.0, abs(near)) else value


def _floored(value: float) -> float:
    return float(math.floor(_snapped(value))) if math.isfinite(value) else value


def _stairs(before: _Ramp, rounding: Node, behind: _Ramp) -> _Stairs | None:
    """The normal form of ramp, rounding, ramp; None where it is no clip-floor activation."""
    nearest = rounding.attrs["how"] == "round"
    half = 0.5 if nearest else 0.0
    low, high = _floored(before.low + half), _floored(before.high + half)
    step = behind.slope
    # bounds behind the rounding, as whole numbers before it
    ends = [(end - behind.offset) / step for end in (behind.low, behind.high)]
    low = max(low, min(_snapped(ends[0]), high))
    high = min(high, max(_snapped(ends[1]), low))
    if not (math.isfinite(low) and math.isfinite(high)) or low != int(low) or high != int(high):
        return None
    levels = int(high - low)
    if not 1 <= levels <= MOST or abs(step * low + behind.offset) > _CLOSE * step:
        return None
    offset = before.offset + half - low
    near = _snapped(offset * 2) / 2  # 0 and 1/2 are meant where they are nearly met
    even = nearest and near == 0.5 and low % 2 == 0
    return _Stairs(step, before.slope * step, near, levels, even)


def _backward(graph: Graph, rounding: Node) -> tuple[str, _Ramp]:
    """The value that the longest chain of ramps before `rounding` starts from, and the chain."""
    chain: list[Node] = []
    source = rounding.inputs[0]
    while (node := graph.by_name[source]) and len(graph.data_inputs(node)) == 1:
        if only_reader(graph, node) is None or _Ramp().then(graph, node) is None:
            break
        chain.append(node)
        source = node.inputs[0]
    ramp = _Ramp()
    for node in reversed(chain):
        after = ramp.then(graph, node)
        assert after is not None  # tried above
        ramp = after
    return source, ramp


def _forward(graph: Graph, rounding: Node) -> Iterator[tuple[Node, _Ramp]]:
    """Every place behind `rounding` that a chain of ramps leads to, the rounding first."""
    node, ramp = rounding, _Ramp()
    while True:
        yield node, ramp
        reader = only_reader(graph, node)
        if reader is None:
            return
        after = ramp.then(graph, reader)
        if after is None:
            return
        node, ramp = reader, after


def _best(
    before: _Ramp, rounding: Node, places: Sequence[tuple[Node, _Ramp]]
) -> tuple[Node, _Stairs] | None:
    """Where the chain ends: where it needs no factor before it, else as far behind as it goes."""
    found = [(node, _stairs(before, rounding, ramp)) for node, ramp in places]
    known = [(node, stairs) for node, stairs in found if stairs is not None]
    plain = [pair for pair in known if abs(pair[1].gain - 1) <= _CLOSE]
    return (plain or known)[-1] if known else None


def _replacement(graph: Graph, source: str, end: Node, stairs: _Stairs) -> Graph:
    own_name = _module(graph, source, end)
    shift = stairs.offset - math.floor(stairs.offset)
    moves = {
        "scale": 1.0 if abs(stairs.gain - 1) <= _CLOSE else stairs.gain,
        "add_constant": math.floor(stairs.offset) * stairs.step,
    }
    nodes: list[Node] = []
    tensors: dict[str, Tensor] = {}
    rank = len(graph.shapes[source]) + 1
    for op, number in moves.items():
        if number == (1.0 if op == "scale" else 0.0):
            continue
        before = f"{end.name}.{op}"
        tensors[f"{before}.number"] = torch.full((1,) * rank, number)
        nodes.append(Node(before, op, (source, f"{before}.number"), {}, end.source))
        source = before
    attrs = {
        "ceiling": stairs.step * stairs.levels,
        "levels": stairs.levels,
        "shift": shift,
        **({"even": True} if stairs.even else {}),
    }
    whole = replace(end, name=own_name, op="quantized_clip", inputs=(source,), attrs=attrs)
    rewired = {} if own_name == end.name else {end.name: own_name}
    return rebuild(graph, changed={end.name: (*nodes, whole)}, rewired=rewired, tensors=tensors)


def _module(graph: Graph, source: str, end: Node) -> str:
    """The name of the module whose ops all lie between `source` and `end`, else that of `end`."""
    path = end.name.rpartition(".")[0]
    chain, name = {end.name}, end.inputs[0]
    while name != source:
        chain.add(name)
        name = graph.by_name[name].inputs[0]
    inside = {node.name for node in graph.nodes if node.name.startswith(f"{path}.")}
    taken = path in graph.by_name or path in graph.tensors or end.name in graph.outputs
    return path if path and not taken and inside == chain else end.name


def fold_clip_floor(graph: Graph) -> Graph:
    """Fold every clip-floor activation into one node, `quantized_clip`."""
    while (folded := _fold_one(graph)) is not None:
        graph = folded
    return _explained(_once(graph))


def _fold_one(graph: Graph) -> Graph | None:
    for node in graph.nodes:
        if node.op != "rounding":
            continue
        source, before = _backward(graph, node)
        found = _best(before, node, list(_forward(graph, node)))
        if found is not None:
            return _replacement(graph, source, *found)
    return None


_KEEP = frozenset({"max_pool", "reshape", "permute", "slice", "pad", "concat", "identity", "relu"})


def _once(graph: Graph) -> Graph:
    """Without staircases whose input stands on their own steps already, as quantised files have
    them around everything that only moves or chooses values."""
    steps: dict[str, tuple[float, float]] = {}  # of values on steps: their size and the highest
    rewired: dict[str, str] = {}
    for node in graph.nodes:
        known = [steps.get(name) for name in graph.data_inputs(node)]
        same = known[0] if known and all(k == known[0] for k in known) else None
        if node.op in _KEEP and same:
            steps[node.name] = same
        if node.op != "quantized_clip":
            continue
        own = node.attrs["ceiling"] / node.attrs["levels"], node.attrs["ceiling"]
        steps[node.name] = own
        equal = same and math.isclose(same[0], own[0], rel_tol=_CLOSE / node.attrs["levels"])
        if same and equal and same[1] <= own[1] + own[0] / 2:
            rewired[node.name] = node.inputs[0]
            steps[node.name] = same
    return rebuild(graph, rewired=rewired) if rewired else graph


def _explained(graph: Graph) -> Graph:
    """Say of a staircase whose steps differ within a layer that this is what it is refused for."""
    changed = {}
    for node in graph.nodes:
        before = graph.by_name[_backward(graph, node)[0]] if node.op == "rounding" else node
        if before is node or before.op not in ("scale", "add_constant"):
            continue
        if node.attrs["reason"] and graph.tensors[before.inputs[1]].numel() > 1:
            attrs = {**node.attrs, "reason": _DIFFERENT, "remedy": _ONE}
            changed[node.name] = (replace(node, attrs=attrs),)
    return rebuild(graph, changed=changed) if changed else graph
