"""What is sent in differential form: not the values that receivers take in, but their changes.

A receiver holds the mean of what a node has passed on so far, and is told where it changes. Neurons
say so themselves. What passes on means without weights or state of its own, as pooling does, has an
event where the op gives another result for the means after a step than for those before it; so does
max-pooling over time, whose sums are t times the largest mean.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from convsnn.graph import Node
from convsnn.graph.ops import Role
from convsnn.neurons import Keys, Neuron
from convsnn.neurons.base import sends_changes
from convsnn.simulate.program import Program

Scan = Callable[..., tuple[Tensor, Any]]


class Changes:
    """Keeps, chunk by chunk, what a network sends in differential form."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._between = _between(program)
        read = {name for between in self._between for name in program.sources[between]}
        self._kept = read & program.net.graph.sites.keys()
        self._spikes: dict[str, Tensor] = {}
        self._means: dict[str, Tensor] = {}  # (Tc + 1, B, ...)

    def scan(self, name: str, neuron: Neuron) -> Scan:
        """The `scan` of the neurons of the site `name`, which keeps their spikes."""
        if not sends_changes(neuron):
            return neuron.scan

        def scan(
            currents: Tensor, state: Any = None, *, keys: Keys | None = None
        ) -> tuple[Tensor, Any]:
            self._spikes[name], means, after = neuron.changes(currents, state, keys=keys)
            if name in self._kept:
                self._means[name] = means
            return means[:-1] + self._spikes[name], after

        return scan

    def sent(self, node: Node, value: Tensor, fixed: Mapping[str, Tensor]) -> Tensor:
        """What `node`, which passes on `value` (Tc, B, ...), sends; nodes are shown in order, and
        `fixed` are the values (B, ...) that never change."""
        if node.name in self._spikes:
            return self._spikes.pop(node.name)
        if node.name not in self._between:
            return value
        steps, given = len(value) + 1, {}
        for name in self._program.sources[node.name]:
            held = self._means.get(name)
            held = fixed[name].expand(steps, *fixed[name].shape) if held is None else held
            given[name] = held.flatten(0, 1)
        self._means[node.name] = self._program.apply(node, given).unflatten(0, (steps, -1))
        return torch.diff(self._means[node.name], dim=0)


def _between(program: Program) -> frozenset[str]:
    """The nodes behind neurons alone that send without being neurons, and what leads to them."""
    graph, sites = program.graph, program.net.graph.sites
    spoken: set[str] = set()  # all that moves there comes from neurons
    for node in graph.nodes:
        if node.name in sites:
            spoken.add(node.name)
        elif node.role is not Role.INPUT and node.name in program.moving:
            moving = program.moving.intersection(program.sources[node.name])
            if moving <= spoken:
                spoken.add(node.name)
    found: set[str] = set()
    for node in reversed(graph.nodes):
        leads = any(reader.name in found for reader in graph.consumers[node.name])
        if node.name in spoken - sites.keys() and (node.name in program.net.fan_out or leads):
            found.add(node.name)
    return frozenset(found)
