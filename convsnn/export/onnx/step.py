"""One time step of a whole network in ONNX: values and states in, answers and states out."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from convsnn.encoders import Encoder
from convsnn.errors import ExportError
from convsnn.export.onnx.emitter import Emitter
from convsnn.export.onnx.neurons import Population, State, population
from convsnn.export.onnx.nodes import NodeWriter
from convsnn.export.onnx.ops import write
from convsnn.graph import Node
from convsnn.graph.ops import Role
from convsnn.readouts import READOUTS
from convsnn.spiking.network import Spiking


@dataclass(frozen=True)
class Slot:
    """A state tensor: its shape for one sample, and its value before the first step, which
    broadcasts to that."""

    shape: tuple[int, ...]
    rest: Tensor


@dataclass
class Values:
    """What a step has computed: the value of every node, new states, answers by output."""

    nodes: dict[str, str]
    states: dict[str, str] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    sent: dict[str, str] = field(default_factory=dict)


class StepWriter(NodeWriter):
    """Writes a network step by step; ExportError names the layer that has no form in ONNX.

    `slots` are the state tensors by name; `moving` the nodes whose value changes over time.
    """

    def __init__(self, net: Spiking) -> None:
        super().__init__(net)
        self._readout = READOUTS.create(net.readout)
        if self._readout.window:
            raise ExportError(
                "networks whose layers take turns (tsc) have no form in ONNX here",
                hint="convert the network with --neuron if, signed, burst or msat",
            )
        self.moving = self.graph.behind(_moving_roles(net.encoder))
        self._populations = {name: self._population(name) for name in self.graph.sites}
        self.slots = self._all_slots()

    def fixed(self, emit: Emitter, x: str) -> dict[str, str]:
        """What depends on a constant input alone."""
        values = Values({self.graph.input.name: x})
        for node in self.graph.nodes:
            if node.name not in self.moving | self.tail and node.role is not Role.INPUT:
                values.nodes[node.name] = self.plain(emit, node, values.nodes)
        return values.nodes

    def step(self, emit: Emitter, known: Mapping[str, str], states: State, time: str) -> Values:
        """A step from the values `known` (the input, or all that is fixed) and the states; `time`
        is the number of steps before it, a float scalar."""
        values = Values(dict(known))
        for node in self.graph.nodes:
            if node.name in values.nodes or node.name in self.tail:
                continue
            if node.role is Role.ACTIVATION:
                self._fire(emit, node, values, states, time)
            elif node.role is Role.MAX_POOL and not node.attrs.get("each_step"):
                self._sum_pool(emit, node, values, states)
            else:
                values.nodes[node.name] = self.plain(emit, node, values.nodes)
        answers = self._answers(emit, values, states, time)
        for node in self.graph.nodes:
            if node.name in self.tail:
                answers[node.name] = self.plain(emit, node, answers)
        values.answers = {name: answers[name] for name in self.graph.outputs}
        return values

    def _population(self, name: str) -> Population:
        try:
            return population(self.net.neurons[name])
        except ExportError as error:
            hint = error.hint or "convert the network with --neuron if, signed, burst or msat"
            raise ExportError(f"layer '{name}': {error}", hint=hint) from None

    def _all_slots(self) -> dict[str, Slot]:
        zero, shapes = torch.zeros(()), self.graph.shapes
        found: dict[str, Slot] = {}
        for node in self.graph.nodes:
            if node.name in self._populations:
                rest = self._populations[node.name].rest
                found |= {f"{node.name}.{k}": Slot(shapes[node.name], v) for k, v in rest.items()}
            elif node.role is Role.MAX_POOL and not node.attrs.get("each_step"):
                source = self.graph.data_inputs(node)[0]
                found[f"{node.name}.summed"] = Slot(shapes[source], zero)
                found[f"{node.name}.pooled"] = Slot(shapes[node.name], zero)
        for name in self.ends:
            found[f"{name}.answer"] = Slot(shapes[name], zero)
            if self._readout.delay:
                found[f"{name}.so_far"] = Slot(shapes[name], zero)
        return found

    def _fire(self, emit: Emitter, node: Node, values: Values, states: State, time: str) -> None:
        own, current = self._populations[node.name], self.current(emit, node, values.nodes, time)
        state = {key: states[f"{node.name}.{key}"] for key in own.rest}
        sent, after = own.step(emit, current, state, time)
        values.nodes[node.name] = values.sent[node.name] = sent
        values.states |= {f"{node.name}.{key}": value for key, value in after.items()}

    def _sum_pool(self, emit: Emitter, node: Node, values: Values, states: State) -> None:
        """Exact max-pooling: the pool of the sum so far, less what was passed on before."""
        source = values.nodes[node.inputs[0]]
        summed = emit.op("Add", states[f"{node.name}.summed"], source)
        pooled = write(emit, self.graph, node, [summed])
        values.nodes[node.name] = emit.op("Sub", pooled, states[f"{node.name}.pooled"])
        values.states |= {f"{node.name}.summed": summed, f"{node.name}.pooled": pooled}

    def _answers(self, emit: Emitter, values: Values, states: State, time: str) -> dict[str, str]:
        """The readout up to this step of every value that is accumulated."""
        readout, one = self._readout, emit.number(1)
        number = emit.op("Add", time, one)
        count = number
        if readout.delay:
            late = emit.op("Sub", number, emit.number(readout.delay))
            count = emit.op("Max", late, emit.number(0))
        weight, total = emit.op("Min", count, one), count
        if readout.power:
            weight, total = count, _triangle(emit, count)
        if readout.power == 2:
            weight, total = emit.op("Mul", count, count), _pyramid(emit, count, total)
        answers = {}
        for name in self.ends:
            value = values.nodes[name]
            add = emit.op("Mul", value, weight) if readout.power or readout.delay else value
            summed = emit.op("Add", states[f"{name}.answer"], add)
            answer = emit.op("Div", summed, emit.op("Max", total, one))
            values.states[f"{name}.answer"] = summed
            if readout.delay:
                so_far = emit.op("Add", states[f"{name}.so_far"], value)
                values.states[f"{name}.so_far"] = so_far
                counts = emit.op("Greater", total, emit.number(0))
                answer = emit.op("Where", counts, answer, emit.op("Div", so_far, number))
            answers[name] = answer
        return answers


def _triangle(emit: Emitter, count: str) -> str:
    """1 + 2 + ... + count."""
    square = emit.op("Mul", count, emit.op("Add", count, emit.number(1)))
    return emit.op("Mul", square, emit.number(0.5))


def _pyramid(emit: Emitter, count: str, triangle: str) -> str:
    """1 + 4 + ... + count^2, from the `triangle` of 1 + 2 + ... + count."""
    twice = emit.op("Add", emit.op("Add", count, count), emit.number(1))
    return emit.op("Div", emit.op("Mul", triangle, twice), emit.number(3))


def _moving_roles(encoder: Encoder) -> set[Role]:
    return {Role.ACTIVATION} if encoder.constant else {Role.ACTIVATION, Role.INPUT}
