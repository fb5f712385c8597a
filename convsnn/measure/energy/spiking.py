"""The work of a spiking network for one image, up to every time step, from what it really sent.

The first layer's current, and whatever else the input alone decides, is computed once and kept: at
every step it is read and added. A network that fires layer by layer adds it, and its biases, once.

In differential form all that stands behind neurons keeps the current H that has been sent so far:
at every step it adds H to the potential, and what came in this step, over t, to H. A neuron keeps
the mean that it has sent in the same way.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from convsnn.graph import Node
from convsnn.graph.dense import read_elements
from convsnn.graph.ops import Role
from convsnn.graph.ops.base import SMOOTH
from convsnn.measure.activity import Activity
from convsnn.measure.energy.rows import Row, shared
from convsnn.measure.energy.smooth import spiking_rows
from convsnn.measure.energy.structure import Structure
from convsnn.neurons.base import sends_changes
from convsnn.simulate.trains import sends_graded
from convsnn.spiking.network import Spiking

GRADED_BITS = 8  # of values that are no spikes: an image's, a pool's
ADDRESSES = 2  # additions for each event, beside one for each of its synapses (Lemaire et al. 2022)
LEAKY = ("lif",)


def fixed_nodes(net: Spiking) -> set[str]:
    """What sends the same values at every step, so that its operations need to run only once."""
    roles = {Role.ACTIVATION} if net.encoder.constant else {Role.ACTIVATION, Role.INPUT}
    return set(net.graph.by_name) - net.graph.behind(roles)


@dataclass(frozen=True)
class Work:
    """What one run over images did, as rows."""

    net: Spiking
    activity: Activity
    structure: Structure

    def rows(self) -> list[Row]:
        """The work of one image, up to each of the steps that were scored."""
        return [
            *self._senders(),
            *self._neurons(),
            *self._layers(),
            *self._sums(),
            *self._pools(),
            *self._answers(),
            *spiking_rows(self.structure, steps=self._steps, waits=self._waits, fixed=self._fixed),
        ]

    @cached_property
    def _steps(self) -> Tensor:
        return torch.tensor(self.activity.at, dtype=torch.float64)

    @cached_property
    def _once(self) -> Tensor:
        return torch.ones_like(self._steps)

    @cached_property
    def _fixed(self) -> set[str]:
        return fixed_nodes(self.net)

    @property
    def _waits(self) -> bool:
        return self.net.schedule == "layers"

    def _each_step(self, name: str) -> Tensor:
        """How often an addition to the current of what reads `name` is made."""
        return self._once if self._waits or name in self._fixed else self._steps

    def events(self, name: str) -> Tensor:
        """Events per image up to each step; of what never changes, those of one step."""
        sent = self.activity.up_to(self.activity.events[name]).double() / self.activity.samples
        return sent / self._steps if name in self._fixed else sent

    def _operations(self, name: str) -> Tensor:
        found = self.activity.operations_per_image(name)
        return found / self._steps if name in self._fixed else found

    def owners(self, name: str) -> dict[str, float]:
        """The sites whose spikes a place sends on; where there are several, by their events."""
        if name in self.net.graph.sites:
            return {name: 1.0}
        sites = self.structure.drivers[name].sites
        return shared({s: share * float(self.events(s)[-1]) for s, share in sites.items()})

    def _senders(self) -> Iterator[Row]:
        for node in self.net.graph.nodes:
            name = node.name
            if name not in self.activity.operations:
                continue
            operations, events = self._operations(name), self.events(name)
            graded = sends_graded(self.net, node)
            layers = self.structure.fed.get(name, [])
            kind = "graded_operations" if graded else "synaptic_operations"
            counts = {kind: operations, "weights_read": operations}
            if name in self._fixed:
                elements = self._once * self.structure.size(name)
                counts |= {"values": elements, "addressing": elements}
            else:
                counts["addressing"] = operations + ADDRESSES * events
                counts["event_bits"] = events * self._event_bits(node, graded=graded)
            dense = sum(self.structure.connections[layer.name] for layer in layers)
            counts["weights_dense"] = dense * (self._once if name in self._fixed else self._steps)
            held = max((self.structure.weights(layer) for layer in layers), default=0)
            yield Row(name, counts, held, value_bits=GRADED_BITS, owners=self.owners(name))

    def _event_bits(self, node: Node, *, graded: bool) -> int:
        """An event's address among its layer's neurons, and what it carries."""
        address = (self.structure.size(node.name) - 1).bit_length()
        most = max((self.net.neurons[s].spikes_per_step for s in self.owners(node.name)), default=1)
        if node.role is not Role.ACTIVATION and graded:
            return address + GRADED_BITS
        signed = any(self.net.graph.sites[s].signed for s in self.owners(node.name))
        payload = most.bit_length() if most > 1 else GRADED_BITS if graded else 0
        return address + payload + int(signed)

    def _neurons(self) -> Iterator[Row]:
        for name in self.net.graph.sites:
            neurons = self.structure.size(name)
            every = neurons * self._steps
            counts = {
                "neuron_updates": every,
                "comparisons": every,
                "resets": self.events(name),
                "state_accesses": 2 * every,
            }
            if self.net.kinds[name] in LEAKY:
                counts["scalings"] = every
            if sends_changes(self.net.neurons[name]):
                counts = _added(counts, _held(neurons, self._steps))
                neurons *= 2
            yield Row(name, counts, state=neurons, owners={name: 1.0})

    def _layers(self) -> Iterator[Row]:
        """Biases, and the currents that are kept."""
        for node in self.structure.weighted:
            size, name = self.structure.size(node.name), node.name
            counts: dict[str, Tensor] = {}
            if self.structure.biased(node):
                counts["biases"] = size * self._each_step(name)
            readers = self.net.graph.consumers[name]
            kept = name in self._fixed and any(r.name not in self._fixed for r in readers)
            if kept:
                times = size * (self._once if self._waits else self._steps)
                counts |= {"kept_currents": times, "state_accesses": times}
            if name in self._holders:
                counts, kept = _added(counts, _held(size, self._steps)), True
            if counts:
                sites = dict.fromkeys(self.structure.feeds[name], 1.0)
                yield Row(name, counts, state=size if kept else 0, owners=shared(sites))

    @cached_property
    def _holders(self) -> frozenset[str]:
        return frozenset(holders(self.net, self.structure))

    def _sums(self) -> Iterator[Row]:
        for node in self.structure.sums:
            for name, share in self.structure.shortcuts(node):
                if name in self._fixed:
                    continue
                size = _kept_at_a_sum(self.net, self.structure, name, share)
                counts = _held(size, self._steps) if size else {}
                if name in self.activity.events:
                    counts["residual_sums"] = self.events(name) * share
                elif self.net.graph.by_name[name].role in SMOOTH:  # a value of every element
                    every = self.structure.size(name) * share * self._each_step(name)
                    counts["residual_sums"] = every
                if counts:
                    yield Row(node.name, counts, state=size, owners=self.owners(name))

    def _pools(self) -> Iterator[Row]:
        for node, work in self.structure.pools:
            times = self._once if node.name in self._fixed else self._steps
            yield Row(node.name, {"pooling": work * times}, owners=self.owners(node.name))

    def _answers(self) -> Iterator[Row]:
        for name in self.structure.answers:
            size = self.structure.size(name)
            every = size * self._steps
            yield Row(name, {"neuron_updates": every, "state_accesses": 2 * every}, state=size)

    def left_out(self) -> list[str]:
        """What no item stands for."""
        kinds = set(self.net.kinds.values())
        found = ["the movement of msat's thresholds"] if "msat" in kinds else []
        heard = [n for n, planned in self.net.plan.sites.items() if planned.lateral is not None]
        if heard:
            found.append(f"lateral input between the neurons of {', '.join(heard)}")
        return found


def holders(net: Spiking, structure: Structure) -> Iterator[str]:
    """Layers with weights that keep what neurons have sent so far: those behind differential
    ones."""
    for node in structure.weighted:
        if _behind_changes(net, structure, node.name):
            yield node.name


def _behind_changes(net: Spiking, structure: Structure, name: str) -> bool:
    sites = [name] if name in net.neurons else structure.drivers[name].sites
    return any(sends_changes(net.neurons[site]) for site in sites)


def _kept_at_a_sum(net: Spiking, structure: Structure, name: str, share: float) -> int:
    """The values that are kept where what `name` sends is added up without weights."""
    changes = _behind_changes(net, structure, name)
    return round(structure.size(name) * share) if changes else 0


def _held(size: int, steps: Tensor) -> dict[str, Tensor]:
    """Of `size` values that are kept, added at every step and updated by a part over t."""
    every = size * steps
    return {"kept_currents": 2 * every, "scalings": every, "state_accesses": 2 * every}


def _added(counts: Mapping[str, Tensor], more: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = dict(counts)
    for item, count in more.items():
        found[item] = found[item] + count if item in found else count
    return found


def values_held(net: Spiking, structure: Structure) -> Mapping[str, int]:
    """What the network has to hold: weights, and values of the width of a potential."""
    weights = sum(structure.weights(node) for node in structure.weighted)
    biases = sum(
        net.graph.tensors[n.inputs[2]].numel() for n in structure.weighted if len(n.inputs) > 2
    )
    planned = sum(
        tensor.numel() for site in net.plan.sites.values() for tensor in site.tensors().values()
    )
    kept = [n for n in structure.weighted if n.name in fixed_nodes(net)]
    state = net.graph.neurons + sum(structure.size(name) for name in structure.answers)
    state += sum(read_elements(net.graph, node) for node in net.graph.smooth)
    state += sum(structure.size(n) for n, one in net.neurons.items() if sends_changes(one))
    state += sum(structure.size(name) for name in holders(net, structure))
    state += sum(
        _kept_at_a_sum(net, structure, name, share)
        for node in structure.sums
        for name, share in structure.shortcuts(node)
    )
    return {
        "weights": weights,
        "biases": biases,
        "planned": planned,
        "state": state + sum(structure.size(node.name) for node in kept),
    }
