"""The two ONNX forms of a spiking network: one step at a time, and all steps in one call.

    step   x, step, states -> logits, next step, next states        zeros are the state at the start
    loop   x, timesteps    -> logits after each of the steps, (T, N, ...)

`logits` is the answer read out of all steps so far (`convsnn.readouts`). Every batch axis is free.
In `step` the number `step` counts what went before, so that initial potentials need no file of
their own: at 0 they take the place of the states that were given. In `loop` what depends on a
constant input alone is computed once. Opset 17.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import onnx
import torch
from onnx import TensorProto, helper

from convsnn.errors import ExportError
from convsnn.export.onnx.emitter import Emitter, onnx_kind
from convsnn.export.onnx.step import Slot, StepWriter
from convsnn.report.files import write_bytes_via
from convsnn.spiking.network import Spiking

Form = Literal["step", "loop"]

OPSET = 17
LOGITS = "logits"
_IR = 8  # the version that came with opset 17
_LARGEST = 1 << 31  # bytes of one protobuf message
_BATCH = "N"


def save_onnx(
    net: Spiking, path: Path, *, form: Form = "step",
    spikes: bool = False, metadata: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Write `net` to `path` as ONNX, all of it or nothing; see `onnx_model`."""
    model = onnx_model(net, form=form, spikes=spikes, metadata=metadata)
    if model.ByteSize() >= _LARGEST:
        raise ExportError(f"cannot write '{path}': an ONNX file holds less than 2 GiB")
    data = model.SerializeToString()

    def writer(temporary: Path) -> None:
        temporary.write_bytes(data)

    write_bytes_via(Path(path), writer)


def onnx_model(
    net: Spiking, *, form: Form = "step", spikes: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:  # fmt: skip
    """`net` as an ONNX model in one of the two forms, in the network's own float type.

    `spikes` adds what every layer of neurons sent as outputs `spikes.LAYER`. Raises ExportError,
    naming the layer, where something has no form in ONNX: random spikes, neurons in rows or turns.
    """
    net = net.to(device="cpu")
    dtype = next((t.dtype for t in net.graph.tensors.values()), torch.float32)
    build = _Forms(net, dtype, spikes)
    graph = build.step() if form == "step" else build.loop()
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="convsnn",
        ir_version=_IR,
    )  # fmt: skip
    helper.set_model_props(model, dict(metadata or {}))
    if model.ByteSize() < _LARGEST:
        onnx.checker.check_model(model, full_check=True)
    return model


class _Forms:
    """What both forms are made of."""

    def __init__(self, net: Spiking, dtype: torch.dtype, spikes: bool) -> None:
        self.net, self.kind = net, onnx_kind(dtype)
        self.writer = writer = StepWriter(net)
        self.shape = tuple(net.graph.input.attrs["shape"])
        outputs, layers = net.graph.outputs, net.graph.sites
        several = len(outputs) > 1
        self.logits = {n: f"{LOGITS}.{n}" if several else LOGITS for n in outputs}
        self.spikes = {n: f"spikes.{n}" for n in layers} if spikes else {}
        following = [f"next.{name}" for name in ("step", *writer.slots)]
        public = ["x", "step", "timesteps", *self.logits.values(), *self.spikes.values()]
        self.emit = Emitter(dtype, frozenset([*public, *following, *writer.slots]))
        writer.enter_weights(self.emit)

    def step(self) -> onnx.GraphProto:
        """x, step, states -> logits, next step, next states."""
        emit, writer = self.emit, self.writer
        inputs = [self._value("x", (_BATCH, *self.shape)), self._value("step", ())]
        begins, states = emit.op("Equal", "step", emit.number(0)), {}
        for name, slot in writer.slots.items():
            inputs.append(self._value(name, (_BATCH, *slot.shape)))
            states[name] = self._begun(begins, name, slot)
        values = writer.step(emit, {self.net.graph.input.name: "x"}, states, "step")
        outputs = self._finish(emit, values.answers, self.logits)
        emit.publish(emit.op("Add", "step", emit.number(1)), "next.step")
        outputs.append(self._value("next.step", ()))
        for name, slot in writer.slots.items():
            emit.publish(values.states[name], f"next.{name}")
            outputs.append(self._value(f"next.{name}", (_BATCH, *slot.shape)))
        outputs += self._finish(emit, values.sent, self.spikes)
        return emit.graph("step", inputs, outputs)

    def _begun(self, begins: str, name: str, slot: Slot) -> str:
        if not bool(slot.rest.any()):
            return name  # zeros are what the caller starts from
        rest = self.emit.constant(slot.rest, f"{name}.rest")
        return self.emit.op("Where", begins, rest, name)

    def loop(self) -> onnx.GraphProto:
        """x, timesteps -> logits after each step."""
        net, emit, writer = self.net, self.emit, self.writer
        frames = net.encoder.steps
        _require_repeatable(net)
        shape = self.shape if frames is None else (frames, *self.shape)
        inputs = [self._value("x", (_BATCH, *shape))]
        inputs.append(helper.make_tensor_value_info("timesteps", TensorProto.INT64, []))
        known = writer.fixed(emit, "x") if net.encoder.constant else {}
        starts = self._starts(emit.batch("x"))
        on = emit.op("Greater", "timesteps", emit.op("Constant", value_int=0))
        ends = [emit.unique(f"{name}.end") for name in writer.slots]
        results = [*self.logits.values(), *self.spikes.values()]
        node = helper.make_node("Loop", ["timesteps", on, *starts], [*ends, *results])
        node.attribute.append(helper.make_attribute("body", self._body(known, frames is not None)))
        emit.nodes.append(node)
        shapes = net.graph.shapes
        named = [*self.logits.items(), *self.spikes.items()]
        outputs = [self._value(shown, ("T", _BATCH, *shapes[name])) for name, shown in named]
        return emit.graph("loop", inputs, outputs)

    def _starts(self, size: str) -> list[str]:
        """The states before the first step, of as many samples as `size` says."""
        emit, starts = self.emit, []
        for name, slot in self.writer.slots.items():
            whole = emit.op("Concat", size, emit.whole(*slot.shape), axis=0)
            rest = emit.constant(slot.rest, f"{name}.rest")
            starts.append(emit.op("Expand", rest, whole))
        return starts

    def _body(self, known: Mapping[str, str], frames: bool) -> onnx.GraphProto:
        """One step as the body of the loop: iteration, going, states -> going, states, results."""
        emit, writer = self.emit.inner(), self.writer
        trip, going = emit.unique("iteration"), emit.unique("going")
        inputs = [
            helper.make_tensor_value_info(trip, TensorProto.INT64, []),
            helper.make_tensor_value_info(going, TensorProto.BOOL, []),
        ]
        states = {name: emit.unique(f"{name}.now") for name in writer.slots}
        inputs += [self._value(states[n], (_BATCH, *s.shape)) for n, s in writer.slots.items()]
        seen = dict(known)
        if frames:
            seen[self.net.graph.input.name] = emit.op("Gather", "x", trip, axis=1)
        values = writer.step(emit, seen, states, emit.cast(trip))
        on = emit.op("Identity", going)
        outputs = [helper.make_tensor_value_info(on, TensorProto.BOOL, [])]
        for name, slot in writer.slots.items():
            after = emit.op("Identity", values.states[name])
            outputs.append(self._value(after, (_BATCH, *slot.shape)))
        for held, shown in ((values.answers, self.logits), (values.sent, self.spikes)):
            own = {name: emit.unique(f"{wanted}.now") for name, wanted in shown.items()}
            outputs += self._finish(emit, held, own)
        return emit.graph("one_step", inputs, outputs, own=False)

    def _finish(
        self, emit: Emitter, values: Mapping[str, str], shown: Mapping[str, str]
    ) -> list[onnx.ValueInfoProto]:
        """Values of nodes as outputs, under the names they are `shown` by."""
        found = []
        for name, wanted in shown.items():
            emit.publish(values[name], wanted)
            found.append(self._value(wanted, (_BATCH, *self.net.graph.shapes[name])))
        return found

    def _value(self, name: str, shape: tuple[Any, ...]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, self.kind, list(shape))


def _require_repeatable(net: Spiking) -> None:
    if net.encoder.steps is None and not net.encoder.constant:
        raise ExportError(
            f"the input encoder '{net.encoder.spec()}' makes spikes of its own, which no exported "
            "loop repeats",
            hint="write the step form, which takes the encoded input of every step, or convert "
            "the network with --encoder direct",
        )
