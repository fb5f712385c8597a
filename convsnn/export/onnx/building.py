"""What all ONNX forms of a network are made of: its input, its answers, and their names."""

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import torch
from onnx import helper

from convsnn.export.onnx.emitter import Emitter, onnx_kind
from convsnn.export.onnx.nodes import NodeWriter
from convsnn.spiking.network import Spiking

LOGITS = "logits"
BATCH = "N"


class Building:
    """A graph of `net` in the float type `dtype`, into which `writer` writes.

    `logits` and `spikes` are the names that the answers and what layers sent are shown by, by node;
    `public` are more names that a user types.
    """

    def __init__(
        self, net: Spiking, dtype: torch.dtype, writer: NodeWriter, *,
        spikes: bool, public: Sequence[str],
    ) -> None:  # fmt: skip
        self.net, self.kind = net, onnx_kind(dtype)
        self.shape = tuple(net.graph.input.attrs["shape"])
        outputs, layers = net.graph.outputs, net.graph.sites
        several = len(outputs) > 1
        self.logits = {n: f"{LOGITS}.{n}" if several else LOGITS for n in outputs}
        self.spikes = {n: f"spikes.{n}" for n in layers} if spikes else {}
        taken = ["x", "timesteps", *self.logits.values(), *self.spikes.values(), *public]
        self.emit = Emitter(dtype, frozenset(taken))
        writer.enter_weights(self.emit)

    def finish(
        self, emit: Emitter, values: Mapping[str, str], shown: Mapping[str, str], *before: Any
    ) -> list[onnx.ValueInfoProto]:
        """Values of nodes as outputs, under the names they are `shown` by; `before` are sizes of
        axes in front of the batch."""
        found = []
        for name, wanted in shown.items():
            emit.publish(values[name], wanted)
            shape = self.net.graph.shapes[name]
            found.append(self.value(wanted, (*before, BATCH, *shape)))
        return found

    def value(self, name: str, shape: Sequence[Any]) -> onnx.ValueInfoProto:
        """The description of a value."""
        return helper.make_tensor_value_info(name, self.kind, list(shape))
