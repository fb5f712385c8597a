"""Puts a sum of ramps in the place of a function of one value: neurons, where it would be analog.

    f(x) ~ v_0 + sum_k (v_k - v_(k-1)) / (t_k - t_(k-1)) * clip(x - t_(k-1), 0, t_k - t_(k-1))

is the line through the points (t_k, v_k), flat beyond both ends. Each ramp is a neuron that sends
at most one spike a step, and its share of the range is finer than that of one neuron for all of it.
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
    """Points (t_k, v_k) of a line, t rising, and the relative `error` of it."""

    places: Sequence[float]
    values: Sequence[float]
    error: float


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


class _Sum:
    """The nodes of one sum, as they are put together."""

    def __init__(self, node: Node, rank: int, like: Tensor, taken: set[str]) -> None:
        self.node, self.rank, self.like, self.taken = node, rank, like, taken
        self.nodes: list[Node] = []
        self.tensors: dict[str, Tensor] = {}

    def of(self, line: Line) -> str:
        """Append the sum; the name of its last node."""
        source = self.node.inputs[0]
        spread = max(line.values) - min(line.values)
        ramps = [
            (t, u - t, v - w)
            for t, u, w, v in zip(
                line.places, line.places[1:], line.values, line.values[1:], strict=False
            )
        ]
        kept = [ramp for ramp in ramps if abs(ramp[2]) > FLAT * spread] or ramps[:1]
        total = ""
        for number, (start, width, rise) in enumerate(kept):
            moved = self._with("add_constant", source, -start, f"from{number}")
            ramp = self._emit("clip", (moved,), f"ramp{number}", {"ceiling": width})
            part = self._with("scale", ramp, rise / width, f"slope{number}")
            total = self._emit("add", (total, part), f"sum{number}") if total else part
        return self._with("add_constant", total, line.values[0], "base")

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
