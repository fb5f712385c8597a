"""Writes the nodes of a network that are no neurons, and enters its weights, once."""

from collections.abc import Mapping, Sequence

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

    def current(self, emit: Emitter, node: Node, values: Mapping[str, str], times: str = "") -> str:
        """The current of the neurons `node`: of one step, or `times` the mean of several."""
        shift = self.net.plan.sites[node.name].shift
        current = values[node.inputs[0]]
        if times:
            current = emit.op("Mul", current, times)
        if shift is None:
            return current
        more = emit.constant(shift, f"{node.name}.shift")
        return emit.op("Add", current, emit.op("Mul", more, times) if times else more)

    def _given(self, node: Node, values: Mapping[str, str]) -> Sequence[str]:
        return [self._weights[i] if i in self._weights else values[i] for i in node.inputs]
