"""Writes the nodes of a network that are no neurons, and enters its weights, once."""

from collections.abc import Mapping, Sequence

import torch
from onnx import TensorProto
from torch import Tensor

from convsnn.export.onnx.emitter import Emitter
from convsnn.export.onnx.ops import write
from convsnn.graph import Node
from convsnn.graph.ops import Role
from convsnn.spiking.network import Spiking


class NodeWriter:
    """The nodes of `net`, with the weights that its plan replaces; `tail` are those that are
    applied to the answer, `ends` the values that the answer is read out of."""

    def __init__(self, net: Spiking) -> None:
        self.net, self.graph = net, net.body
        self.tail = self.graph.behind([Role.READOUT])
        read = {i for node in self.graph.nodes if node.name in self.tail for i in node.inputs}
        ends = ({*self.graph.outputs} | read) - self.tail - self.graph.tensors.keys()
        self.ends = [node.name for node in self.graph.nodes if node.name in ends]
        self._weights: dict[str, str] = {}

    def enter_weights(self, emit: Emitter) -> None:
        """Put the network's tensors into the graph; those of activations are the neurons' own."""
        for node in self.graph.nodes:
            for name in node.inputs if node.role is not Role.ACTIVATION else ():
                if name in self.graph.tensors and name not in self._weights:
                    self._weights[name] = emit.constant(self.graph.tensors[name], name)

    def plain(self, emit: Emitter, node: Node, values: Mapping[str, str]) -> str:
        """The value of `node`, from those of the nodes before it."""
        return write(emit, self.graph, node, self._given(node, values))

    def current(self, emit: Emitter, node: Node, values: Mapping[str, str], time: str) -> str:
        """The current of the neurons `node` in the step behind `time` others."""
        planned, current = self.net.plan.sites[node.name], values[node.inputs[0]]
        if planned.timed_bias is not None:
            current = emit.op("Add", current, _entry(emit, _ended(planned.timed_bias), time))
        if planned.shift is None:
            return current
        return emit.op("Add", current, emit.constant(planned.shift, f"{node.name}.shift"))

    def total(self, emit: Emitter, node: Node, values: Mapping[str, str], steps: str) -> str:
        """The current of the neurons `node` in all `steps`, `values` being means."""
        planned = self.net.plan.sites[node.name]
        current = emit.op("Mul", values[node.inputs[0]], steps)
        if planned.timed_bias is not None:
            sums = _ended(planned.timed_bias).roll(1, 0).cumsum(0)
            current = emit.op("Add", current, _entry(emit, sums, steps))
        if planned.shift is None:
            return current
        shift = emit.constant(planned.shift, f"{node.name}.shift")
        return emit.op("Add", current, emit.op("Mul", shift, steps))

    def _given(self, node: Node, values: Mapping[str, str]) -> Sequence[str]:
        return [self._weights[i] if i in self._weights else values[i] for i in node.inputs]


def _ended(timed: Tensor) -> Tensor:
    """What is added at every step, the last entry for all that follow."""
    return torch.cat([timed, torch.zeros_like(timed[:1])])


def _entry(emit: Emitter, rows: Tensor, number: str) -> str:
    """The row of that number, a float, or the last one where there are fewer."""
    last = emit.number(len(rows) - 1)
    index = emit.op("Cast", emit.op("Min", number, last), to=TensorProto.INT64)
    return emit.op("Gather", emit.constant(rows, "timed_bias"), index, axis=0)
