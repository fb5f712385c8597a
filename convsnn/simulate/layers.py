"""The layer pass: every layer once for all T time steps, for networks that fire layer by layer.

Values are means over the T steps, in units of the source network's activations: what a layer sends
is threshold * count / T (see `convsnn.spiking.schedule`). What depends on the input alone is
computed once for every T that is asked for. Trains are only laid out where somebody looks at them,
or where an op between neurons and weights makes graded values of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convsnn.graph import Node
from convsnn.graph.ops import Role
from convsnn.neurons.base import Coding, Patient
from convsnn.simulate.loop import CHUNK_ELEMENTS, Observer, numbers, require_inputs
from convsnn.simulate.program import Program
from convsnn.simulate.weighted import channels_last
from convsnn.spiking.network import Spiking
from convsnn.spiking.schedule import sorted_train


@dataclass(frozen=True)
class Fired:
    """What the neurons of one site did in T steps, (B, ...): the `current` they took in, all of it
    and the shift with it, the `counts` of their spikes, and the mean `value` that they sent. Where
    spikes differ in size, `counts` are in thresholds, and `events` say how many there are."""

    current: Tensor
    counts: Tensor
    value: Tensor
    events: Tensor | None = None


class LayerPass:
    """A batch `x` (B, *input shape) on its way through a network that fires layer by layer.

    `values` are those that do not depend on T, `(B, ...)`, by node. Raises ConfigError for a wrong
    shape, SimulationError for an image that is not finite.
    """

    def __init__(self, program: Program, x: Tensor, *, ids: Tensor | None = None) -> None:
        require_inputs(x, program.graph.input)
        self.program, self.values = program, dict[str, Tensor]()
        with torch.no_grad():
            for node in program.graph.nodes:
                if node.role is Role.INPUT:
                    sent = program.encoder.encode(x, numbers(x, ids), range(1))[0]
                    self.values[node.name] = channels_last(sent)
                elif node.name not in program.moving:
                    self.values[node.name] = program.apply(node, self.values)

    def run(self, steps: int) -> Iterator[tuple[Node, Tensor, Fired | None]]:
        """Every node that depends on T, in order, with its value (B, ...) and what its neurons
        did; then the answers. The value may be written to when the next is asked for."""
        program, values, left = self.program, dict(self.values), dict(self.program.readers)
        for node in program.graph.nodes:
            if node.name in program.tail:
                values[node.name] = program.apply(node, values)
                yield node, values[node.name], None
            if node.name in program.tail or node.name not in program.moving:
                continue
            fired = None
            if node.role is Role.ACTIVATION:
                fired = fire(program.net, node.name, values[node.inputs[0]], steps)
            value = program.apply(node, values) if fired is None else fired.value
            values[node.name] = value
            yield node, value, fired
            for name in program.sources[node.name]:
                left[name] -= 1
                if left[name] == 0 and name not in program.ends and name not in self.values:
                    del values[name]


def fire(net: Spiking, name: str, mean: Tensor, steps: int) -> Fired:
    """What the neurons of the site `name` do under the `mean` current (B, ...) of `steps` steps."""
    planned, neuron = net.plan.sites[name], net.neurons[name]
    assert isinstance(neuron, Patient)  # by `require_schedule`
    current, added = mean * steps, planned.added_up(steps)
    if added is not None:
        current += added
    if isinstance(neuron, Coding):
        counts, events = neuron.code(current, steps)
    else:
        counts, events = neuron.count(current, steps), None
    return Fired(current, counts, (counts * planned.threshold).div_(steps), events)


def run_layers(
    program: Program,
    x: Tensor,
    *,
    at: Sequence[int],
    ids: Tensor | None = None,
    observe: Observer | None = None,
    count: bool = True,
) -> tuple[list[Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Run `x` for each number of steps in `at`, each to its own end.

    Returns the answers (len(at), B, ...) of every output, and per sending layer what it sent in
    all: events and synaptic operations, (len(at), B). `observe` sees trains of the last of `at`;
    where it has a method `totals(node, place, counts)`, it gets the counts of each instead.
    """
    going = LayerPass(program, x, ids=ids)
    answers: dict[str, list[Tensor]] = {name: [] for name in program.graph.outputs}
    spikes: dict[str, list[Tensor]] = {}
    operations: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        for place, steps in enumerate(at):
            tally = _Tally(program, going.values, steps, len(x), count=count)
            totals = getattr(observe, "totals", None)
            if totals is None and observe is not None and steps == at[-1]:
                tally.observe = observe
            for node in program.graph.nodes:
                if node.name in going.values:
                    tally.see(node, going.values[node.name], None)
            for node, value, fired in going.run(steps):
                tally.see(node, value, fired)
                if totals is not None and fired is not None:
                    totals(node, place, fired.counts)
                if node.name in answers:
                    answers[node.name].append(value)
            for name, (events, behind) in tally.found.items():
                spikes.setdefault(name, []).append(events)
                if behind is not None:
                    operations.setdefault(name, []).append(behind)
            for name in answers.keys() & going.values.keys():
                answers[name].append(going.values[name])
    return (
        [torch.stack(answers[name]) for name in program.graph.outputs],
        {name: torch.stack(parts) for name, parts in spikes.items()},
        {name: torch.stack(parts) for name, parts in operations.items()},
    )


class _Tally:
    """Counts what is sent in one run of `steps` steps, and shows it to `observe` step by step."""

    def __init__(
        self, program: Program, fixed: Mapping[str, Tensor], steps: int, images: int, *, count: bool
    ) -> None:
        self.program, self.steps, self.images, self.count = program, steps, images, count
        self.observe: Observer | None = None
        self.found: dict[str, tuple[Tensor, Tensor | None]] = {}
        self._fixed, self._counts = fixed, dict[str, Tensor]()
        self._coded = dict[str, Tensor]()  # the currents of neurons whose spikes differ in size
        self._most = max(neurons.spikes_per_step for neurons in program.net.neurons.values())

    def see(self, node: Node, value: Tensor, fired: Fired | None) -> None:
        """The value (B, ...) of a node, the next in order."""
        program = self.program
        if fired is not None and fired.events is not None:
            self._coded[node.name] = fired.current
        elif fired is not None:
            self._counts[node.name] = fired.counts
        elif node.name in program.carriers:
            self._counts[node.name] = program.apply(node, self._counts)
        fan_out = program.net.fan_out.get(node.name)
        sends = fan_out is not None or fired is not None
        if self.count and sends:
            if node.name in self._fixed:
                events = (value != 0).to(value.dtype) * self.steps
            elif fired is not None and fired.events is not None:
                events = fired.events
            elif node.name in self._counts:
                events = self._counts[node.name].abs()
                events = events if self._most == 1 else torch.ceil(events / self._most)
            else:
                events = self._graded(node, value)
            self.found[node.name] = _summed(events, fan_out)
        if self.observe is not None and sends:
            for part in self._parts(value):
                self.observe(node, part, self._train(node.name, part, {}))

    def _graded(self, node: Node, value: Tensor) -> Tensor:
        """In how many steps each element of a graded value is not zero."""
        found = torch.zeros_like(value)
        for part in self._parts(value):
            found += (self._train(node.name, part, {}) != 0).sum(0)
        return found

    def _parts(self, value: Tensor) -> Iterator[range]:
        size = max(1, CHUNK_ELEMENTS // max(1, value.numel()))
        for first in range(0, self.steps, size):
            yield range(first, min(first + size, self.steps))

    def _train(self, name: str, steps: range, known: dict[str, Tensor]) -> Tensor:
        """What the node `name` sends at each of `steps`, (len(steps), B, ...)."""
        net, node = self.program.net, self.program.graph.by_name[name]
        if name in known:
            return known[name]
        if name in self._fixed:
            fixed = self._fixed[name]
            train = fixed.expand(len(steps), *fixed.shape)
        elif name in self._coded:
            neuron = net.neurons[name]
            assert isinstance(neuron, Coding)
            spikes = neuron.train(self._coded[name], steps, steps=self.steps)
            train = spikes * net.plan.sites[name].threshold
        elif node.role is Role.ACTIVATION:
            most = net.neurons[name].spikes_per_step
            spikes = sorted_train(self._counts[name], steps, total=self.steps, most=most)
            train = spikes * net.plan.sites[name].threshold
        else:  # whatever stands between acts on every step alike
            given = {
                source: self._train(source, steps, known).flatten(0, 1)
                for source in self.program.sources[name]
            }
            train = self.program.apply(node, given).unflatten(0, (len(steps), -1))
        known[name] = train
        return train


def _summed(events: Tensor, fan_out: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Events of each sample, (B,), and their synaptic operations; exact, as whole numbers are."""
    if events.dim() == 4:  # images lie with their channels last: read as they lie
        events = events.movedim(1, -1)
        fan_out = None if fan_out is None else fan_out.movedim(0, -1)
    rows = events.flatten(1).double()
    if fan_out is None:
        return rows.sum(1).round().long(), None
    behind = fan_out.flatten().to(rows)
    events, operations = (rows @ torch.stack((torch.ones_like(behind), behind), 1)).unbind(1)
    return events.round().long(), operations
