"""What of a graph work depends on: layers with weights, what they feed, sums and pools."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

from convsnn.graph import Graph, Node
from convsnn.graph.fan_out import is_weighted, passes_on
from convsnn.graph.ops import Role
from convsnn.measure.energy.formula import Drivers, drivers

_AVERAGES = ("avg_pool", "adaptive_avg_pool", "mean")


@dataclass(frozen=True)
class Structure:
    """A graph, seen by what its layers cost; `connections` of every layer with weights are those
    inside the padding's edges."""

    graph: Graph
    connections: Mapping[str, int]

    @cached_property
    def weighted(self) -> list[Node]:
        """Layers with weights."""
        return [node for node in self.graph.nodes if is_weighted(node)]

    @cached_property
    def drivers(self) -> Mapping[str, Drivers]:
        """See `formula.drivers`."""
        return drivers(self.graph)

    def size(self, name: str) -> int:
        """Elements of a node's value."""
        return prod(self.graph.shapes[name])

    def weights(self, node: Node) -> int:
        """How many weights a layer has."""
        return self.graph.weight(node).numel()

    def biased(self, node: Node) -> bool:
        """Whether a layer with weights adds a bias."""
        return len(node.inputs) > 2

    @cached_property
    def feeds(self) -> Mapping[str, list[str]]:
        """For each layer with weights the sites whose current it is a part of."""
        found: dict[str, list[str]] = {node.name: [] for node in self.weighted}
        for site in self.graph.sites:
            for name in self._roots(self.graph.by_name[site], pools=True):
                if name in found:
                    found[name].append(site)
        return found

    @cached_property
    def fed(self) -> Mapping[str, list[Node]]:
        """For each place that sends, the layers with weights that read it."""
        found: dict[str, list[Node]] = {}
        for node in self.weighted:
            for name in self._roots(node):
                found.setdefault(name, []).append(node)
        return found

    def _roots(self, node: Node, *, pools: bool = False) -> Iterator[str]:
        """What reaches `node` along ops that only pass on, and along `pools` if so asked."""
        waiting, known = list(self.graph.data_inputs(node)), set()
        while waiting:
            name = waiting.pop()
            if name in known:
                continue
            known.add(name)
            before = self.graph.by_name[name]
            if passes_on(before) or (pools and _is_pool(before)):
                waiting += self.graph.data_inputs(before)
            else:
                yield name

    @cached_property
    def sums(self) -> list[Node]:
        """Where branches meet."""
        return [
            node
            for node in self.graph.nodes
            if node.op in ("add", "sub") and len(self.graph.data_inputs(node)) > 1
        ]

    def shortcuts(self, node: Node) -> Iterator[tuple[str, float]]:
        """What reaches the sum `node` without weights: senders, and the share of their elements
        that arrives. Weighted branches add up in the same potential for nothing."""
        for name in self.graph.data_inputs(node):
            yield from self._shortcut(name, 1 << 62)

    def _shortcut(self, name: str, least: int) -> Iterator[tuple[str, float]]:
        node, least = self.graph.by_name[name], min(least, self.size(name))
        if not passes_on(node):
            if not is_weighted(node):
                yield name, min(1.0, least / max(1, self.size(name)))
            return
        if node in self.sums and len(self.graph.consumers[name]) == 1:
            return  # the sum behind it is the same potential
        for source in self.graph.data_inputs(node):
            yield from self._shortcut(source, least)

    @cached_property
    def pools(self) -> list[tuple[Node, int]]:
        """Pools, and the additions or comparisons in one pass of each."""
        found = []
        for node in self.graph.nodes:
            if not _is_pool(node):
                continue
            window = (
                prod(node.attrs["kernel"])
                if "kernel" in node.attrs
                else self.size(self.graph.data_inputs(node)[0]) / max(1, self.size(node.name))
            )
            found.append((node, round((window - 1) * self.size(node.name))))
        return found

    @cached_property
    def answers(self) -> list[str]:
        """Outputs that are accumulated over time: those that are no neurons themselves."""
        graph = self.graph
        tail = graph.behind([Role.READOUT])
        ends = {name for name in graph.outputs if name not in tail}
        ends |= {i for n in graph.nodes if n.name in tail for i in graph.data_inputs(n)} - tail
        return [n.name for n in graph.nodes if n.name in ends and n.name not in graph.sites]


def _is_pool(node: Node) -> bool:
    return node.role is Role.MAX_POOL or node.op in _AVERAGES
