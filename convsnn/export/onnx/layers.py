"""A network that fires layer by layer in ONNX: one pass in which every layer takes in all steps.

    x, timesteps -> logits (N, ...)

Values between layers are means over the steps, as in `convsnn.simulate.layers`: a layer takes in
T times the mean current, sends `count` spikes of it, and hands on threshold * count / T. With
`spikes` there are also

    counts.LAYER (N, ...)       numbers of spikes, with their sign
    spikes.LAYER (T, N, ...)    the trains: threshold * clip(count - n s, 0, n) at step s

n being the most that a neuron sends in a step. T is free, but thresholds were made for one T.
"""

import onnx
import torch
from onnx import TensorProto, helper

from convsnn.errors import ExportError
from convsnn.export.onnx.building import BATCH, Building
from convsnn.export.onnx.counts import Count, count
from convsnn.export.onnx.nodes import NodeWriter
from convsnn.graph import Node
from convsnn.graph.ops import Role
from convsnn.neurons.base import Coding
from convsnn.spiking.network import Spiking


class Layered(Building):
    """Builds the graph; ExportError names the layer that has no form in ONNX."""

    def __init__(self, net: Spiking, dtype: torch.dtype, spikes: bool) -> None:
        self.writer = NodeWriter(net)
        if spikes:
            _require_trains(net)
        self._count = {name: _count(net, name) for name in net.graph.sites}
        self.counts = {name: f"counts.{name}" for name in net.graph.sites} if spikes else {}
        public = list(self.counts.values())
        super().__init__(net, dtype, self.writer, spikes=spikes, public=public)

    def graph(self) -> onnx.GraphProto:
        """x, timesteps -> logits, and where they are wanted counts and trains."""
        emit, writer, values = self.emit, self.writer, {self.net.graph.input.name: "x"}
        counts: dict[str, str] = {}
        steps = emit.cast("timesteps")
        for node in writer.graph.nodes:
            if node.role is Role.ACTIVATION:
                total = writer.total(emit, node, values, steps)
                counts[node.name] = self._count[node.name](emit, total, steps)
                sent = emit.op("Mul", counts[node.name], self._threshold(node))
                values[node.name] = emit.op("Div", sent, steps)
            elif node.role is not Role.INPUT:
                values[node.name] = writer.plain(emit, node, values)
        inputs = [self.value("x", (BATCH, *self.shape))]
        inputs.append(helper.make_tensor_value_info("timesteps", TensorProto.INT64, []))
        outputs = self.finish(emit, values, self.logits)
        if self.spikes:
            outputs += self.finish(emit, counts, self.counts)
            trains = {name: self._train(name, value, steps) for name, value in counts.items()}
            outputs += self.finish(emit, trains, self.spikes, "T")
        return emit.graph("layers", inputs, outputs)

    def _threshold(self, node: Node) -> str:
        return self.emit.constant(self.net.plan.sites[node.name].threshold, "threshold")

    def _train(self, name: str, counts: str, steps: str) -> str:
        """The sorted train of `counts` spikes: see `convsnn.spiking.schedule.sorted_train`."""
        emit, most = self.emit, self.net.neurons[name].spikes_per_step
        zero, top = emit.number(0), emit.number(most)
        place = emit.op("Range", zero, steps, emit.number(1))
        rank = len(self.net.graph.shapes[name]) + 1
        place = emit.op("Reshape", place, emit.whole(-1, *[1] * rank))
        whole = emit.op("Unsqueeze", counts, emit.whole(0))
        before = emit.op("Mul", place, top)
        up = emit.op("Clip", emit.op("Sub", whole, before), zero, top)
        left = emit.op("Sub", emit.op("Sub", steps, emit.number(1)), place)
        down = emit.op("Add", whole, emit.op("Mul", left, top))
        down = emit.op("Clip", down, emit.number(-most), zero)
        spikes = emit.op("Add", up, down)
        return emit.op("Mul", spikes, self._threshold(self.net.graph.by_name[name]))


def _require_trains(net: Spiking) -> None:
    coded = [name for name, neuron in net.neurons.items() if isinstance(neuron, Coding)]
    if coded:
        raise ExportError(
            f"the trains of layer(s) {', '.join(coded)}, whose spikes differ in size, have no form "
            "in ONNX here",
            hint="leave the spikes out",
        )


def _count(net: Spiking, name: str) -> Count:
    try:
        return count(net.neurons[name])
    except ExportError as error:
        raise ExportError(f"layer '{name}': {error}", hint=error.hint) from None
