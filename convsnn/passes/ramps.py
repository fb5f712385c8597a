"""Puts a sum of ramps in the place of a function of one value: neurons, where it would be analog.

    f(x) ~ v_0 + sum_k (v_k - v_(k-1)) / (t_k - t_(k-1)) * clip(x - t_(k-1), 0, t_k - t_(k-1))

is the line through the points (t_k, v_k), flat beyond both ends. Each ramp is a neuron that sends
at most one spike a step, and its share of the range is finer than that of one neuron for all of it.
A ramp that most values lie above is turned round, with r = t_k - t_(k-1),

    clip(x - t_(k-1), 0, r) = r - clip(t_k - x, 0, r)

so that a neuron speaks for the values beyond it, whichever side that is, and is silent for most.
The original keeps its function (`convsnn.graph.ops.fitted`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from convsnn.graph import Graph, Node
from convsnn.graph.ops.fitted import FITTED
from convsnn.passes.edit import rebuild

FLAT = 1e-6  # of the range of values: a ramp that rises less is left out


@dataclass(frozen=True)
class Line:
    """Points (t_k, v_k) of a line, t rising, which of its pieces are `turned` round, and the
    relative `error` of it."""

    places: Sequence[float]
    values: Sequence[float]
    turned: Sequence[bool]
    error: float


@dataclass(frozen=True)
class _Ramp:
    start: float
    width: float
    rise: float
    turned: bool


def with_ramps(graph: Graph, lines: Mapping[str, Line]) -> Graph:
    """The graph with ramps for each of the functions named in `lines`."""
    changed: dict[str, tuple[Node, ...]] = {}
    tensors: dict[str, Tensor] = {}
    like = next(iter(graph.tensors.values()), torch.zeros(()))
    taken = {*graph.by_name, *graph.tensors}
    for name, line in lines.items():
        node = graph.by_name[name]
        made = _Sum(node, len(graph.shapes[name]) + 1, like, taken)
        end = made.of(line)
        attrs = {"function": node.op, "options": dict(node.attrs), "error": line.error}
        whole = Node(name, FITTED, (end, node.inputs[0]), attrs, node.source)
        changed[name] = (*made.nodes, whole)
        tensors |= made.tensors
    return rebuild(graph, changed=changed, tensors=tensors)


def _ramps(line: Line) -> list[_Ramp]:
    """The pieces of a line that rise or fall; one where none does."""
    ends = zip(line.places, line.places[1:], line.values, line.values[1:], strict=False)
    found = [
        _Ramp(t, u - t, v - w, turned)
        for (t, u, w, v), turned in zip(ends, line.turned, strict=True)
    ]
    spread = max(line.values) - min(line.values)
    return [ramp for ramp in found if abs(ramp.rise) > FLAT * spread] or found[:1]


class _Sum:
    """The nodes of one sum, as they are put together."""

    def __init__(self, node: Node, rank: int, like: Tensor, taken: set[str]) -> None:
        self.node, self.rank, self.like, self.taken = node, rank, like, taken
        self.nodes: list[Node] = []
        self.tensors: dict[str, Tensor] = {}

    def of(self, line: Line) -> str:
        """Append the sum; the name of its last node."""
        total, base, minus = "", line.values[0], ""
        for number, ramp in enumerate(_ramps(line)):
            source, start, slope = self.node.inputs[0], ramp.start, ramp.rise / ramp.width
            if ramp.turned:
                minus = minus or self._with("scale", source, -1.0, "minus")
                source, start, slope = minus, -(ramp.start + ramp.width), -slope
                base += ramp.rise
            moved = self._with("add_constant", source, -start, f"from{number}")
            neuron = self._emit("clip", (moved,), f"ramp{number}", {"ceiling": ramp.width})
            part = self._with("scale", neuron, slope, f"slope{number}")
            total = self._emit("add", (total, part), f"sum{number}") if total else part
        return self._with("add_constant", total, base, "base")

    def _with(self, op: str, source: str, number: float, part: str) -> str:
        name = self._unused(f"{self.node.name}.{part}")
        constant = self._unused(f"{name}.number")
        self.tensors[constant] = self.like.new_full((1,) * self.rank, number)
        self.nodes.append(Node(name, op, (source, constant), {}, self.node.source))
        return name

    def _emit(
        self, op: str, inputs: tuple[str, ...], part: str, attrs: Mapping[str, float] | None = None
    ) -> str:
        name = self._unused(f"{self.node.name}.{part}")
        self.nodes.append(Node(name, op, inputs, attrs or {}, self.node.source))
        return name

    def _unused(self, wanted: str) -> str:
        name, count = wanted, 0
        while name in self.taken:
            count += 1
            name = f"{wanted}_{count}"
        self.taken.add(name)
        return name


def as_neurons(graph: Graph, names: Sequence[str]) -> Graph:
    """The graph with rectifiers in the place of some functions: what it is made of, once fitted."""
    wanted = set(names)
    nodes = tuple(
        replace(node, op="relu", attrs={}) if node.name in wanted else node for node in graph.nodes
    )
    return replace(graph, nodes=nodes) if wanted else graph
