"""Counts the zeros that a network's layers with weights read: what skipping them would save."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from convsnn.graph import Graph, Node
from convsnn.graph.fan_out import is_weighted, synapses
from convsnn.measure.sharing import Share


@dataclass(frozen=True)
class Seen:
    """Sums over images, by layer: connections whose input was not zero, and such inputs; and the
    `connections` of one image, padding's edges left out."""

    effective: Mapping[str, float]
    nonzero: Mapping[str, float]
    connections: Mapping[str, int]


@dataclass
class Zeros:
    """What the original network's layers read, over all images that were shown to it.

    `watch` gives what sees one batch; it counts once it is told to `keep` it.
    """

    graph: Graph
    sums: dict[str, Tensor] = field(default_factory=dict)  # (2,): effective, nonzero

    def __post_init__(self) -> None:
        self._read = {
            node.name: (self.graph.data_inputs(node)[0], synapses(self.graph, node))
            for node in self.graph.nodes
            if is_weighted(node)
        }

    def watch(self) -> "ZerosOfBatch":
        """An observer for `graph.run`."""
        return ZerosOfBatch(self._read)

    def keep(self, batch: "ZerosOfBatch") -> None:
        """Add what was seen of a batch."""
        for name, found in batch.found.items():
            self.sums[name] = self.sums[name] + found if name in self.sums else found

    def total(self, share: Share) -> Seen:
        """What all processes saw."""
        nothing = torch.zeros(2, dtype=torch.float64)
        found = {name: share.add(self.sums.get(name, nothing)) for name in self._read}
        return Seen(
            {name: float(sums[0]) for name, sums in found.items()},
            {name: float(sums[1]) for name, sums in found.items()},
            {name: round(float(reach.sum())) for name, (_, reach) in self._read.items()},
        )


@dataclass
class ZerosOfBatch:
    """Sees the values of one batch: `found` by layer with weights, (2,) as in `Zeros`."""

    read: Mapping[str, tuple[str, Tensor]]
    found: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, node: Node, value: Tensor) -> None:
        """See `graph.run`."""
        behind = [
            (name, reach) for name, (source, reach) in self.read.items() if source == node.name
        ]
        if not behind:
            return
        speaking = (value != 0).sum(0).double()
        for name, reach in behind:
            sums = torch.stack([(speaking * reach.to(speaking)).sum(), speaking.sum()])
            self.found[name] = sums.cpu()
