"""The ONNX forms of a spiking network: one step at a time, all steps in one call, or one pass.

    step    x, step, states -> logits, next step, next states       zeros are the state at the start
    loop    x, timesteps    -> logits after each of the steps, (T, N, ...)
    layers  x, timesteps    -> logits after all steps, (N, ...)

The first two are those of a network that fires step by step, the third is that of one that fires
layer by layer (see `convsnn.export.onnx.layers`).

`logits` is the answer read out of all steps so far (`convsnn.readouts`). Every batch axis is free.
In `step` the number `step` counts what went before, so that initial potentials need no file of
their own: at 0 they take the place of the states that were given. In `loop` what depends on a
constant input alone is computed once. Opset 17.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import onnx
import torch
from onnx import TensorProto, helper

from convsnn.errors import ExportError
from convsnn.export.onnx.building import BATCH, Building
from convsnn.export.onnx.layers import Layered
from convsnn.export.onnx.step import Slot, StepWriter
from convsnn.report.files import write_bytes_via
from convsnn.spiking.kinds import require_neurons_only
from convsnn.spiking.network import Spiking
from convsnn.spiking.schedule import Schedule

Form = Literal["step", "loop", "layers"]
FORMS: Mapping[Schedule, tuple[Form, ...]] = {"steps": ("step", "loop"), "layers": ("layers",)}

OPSET = 17
_IR = 8  # the version that came with opset 17
_LARGEST = 1 << 31  # bytes of one protobuf message


def save_onnx(
    net: Spiking, path: Path, *, form: Form | None = None,
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
    net: Spiking, *, form: Form | None = None, spikes: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:  # fmt: skip
    """`net` as an ONNX model in one of its forms (None: the first of its schedule), in the
    network's own float type.

    `spikes` adds what every layer of neurons sent as outputs `spikes.LAYER`. Raises ExportError for
    a form that is not of the network's schedule, and, naming the layer, where something has no form
    in ONNX: random spikes, neurons in rows or turns.
    """
    net = net.to(device="cpu")
    dtype = next((t.dtype for t in net.graph.tensors.values()), torch.float32)
    graph = _graph(net, dtype, _form(net, form), spikes)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="convsnn",
        ir_version=_IR,
    )  # fmt: skip
    helper.set_model_props(model, dict(metadata or {}))
    if model.ByteSize() < _LARGEST:
        onnx.checker.check_model(model, full_check=True)
    return model


def _form(net: Spiking, asked: Form | None) -> Form:
    if net.schedule == "steps":
        instead = "convert the network with --schedule layers"
        require_neurons_only(net.graph, "ONNX, step by step,", instead=instead)
    known = FORMS[net.schedule]
    if asked is None or asked in known:
        return asked or known[0]
    why = {
        "steps": "its layers fire in the step in which their potential reaches the threshold",
        "layers": "its layers take in all time steps before they fire, so there is no single step",
    }[net.schedule]
    other = "layers" if net.schedule == "steps" else "steps"
    raise ExportError(
        f"a network of the schedule '{net.schedule}' has no form '{asked}': {why}",
        hint=f"use --form {' or '.join(known)}, or convert the network with --schedule {other}",
    )


def _graph(net: Spiking, dtype: torch.dtype, form: Form, spikes: bool) -> onnx.GraphProto:
    if form == "layers":
        return Layered(net, dtype, spikes).graph()
    build = _Stepwise(net, dtype, spikes)
    return build.step() if form == "step" else build.loop()


class _Stepwise(Building):
    """The two forms of a network that fires step by step."""

    def __init__(self, net: Spiking, dtype: torch.dtype, spikes: bool) -> None:
        self.writer = writer = StepWriter(net)
        following = [f"next.{name}" for name in ("step", *writer.slots)]
        public = ["step", *following, *writer.slots]
        super().__init__(net, dtype, writer, spikes=spikes, public=public)

    def step(self) -> onnx.GraphProto:
        """x, step, states -> logits, next step, next states."""
        emit, writer = self.emit, self.writer
        inputs = [self.value("x", (BATCH, *self.shape)), self.value("step", ())]
        begins, states = emit.op("Equal", "step", emit.number(0)), {}
        for name, slot in writer.slots.items():
            inputs.append(self.value(name, (BATCH, *slot.shape)))
            states[name] = self._begun(begins, name, slot)
        values = writer.step(emit, {self.net.graph.input.name: "x"}, states, "step")
        outputs = self.finish(emit, values.answers, self.logits)
        emit.publish(emit.op("Add", "step", emit.number(1)), "next.step")
        outputs.append(self.value("next.step", ()))
        for name, slot in writer.slots.items():
            emit.publish(values.states[name], f"next.{name}")
            outputs.append(self.value(f"next.{name}", (BATCH, *slot.shape)))
        outputs += self.finish(emit, values.sent, self.spikes)
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
        inputs = [self.value("x", (BATCH, *shape))]
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
        outputs = [self.value(shown, ("T", BATCH, *shapes[name])) for name, shown in named]
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
        inputs += [self.value(states[n], (BATCH, *s.shape)) for n, s in writer.slots.items()]
        seen = dict(known)
        if frames:
            seen[self.net.graph.input.name] = emit.op("Gather", "x", trip, axis=1)
        values = writer.step(emit, seen, states, emit.cast(trip))
        on = emit.op("Identity", going)
        outputs = [helper.make_tensor_value_info(on, TensorProto.BOOL, [])]
        for name, slot in writer.slots.items():
            after = emit.op("Identity", values.states[name])
            outputs.append(self.value(after, (BATCH, *slot.shape)))
        for held, shown in ((values.answers, self.logits), (values.sent, self.spikes)):
            own = {name: emit.unique(f"{wanted}.now") for name, wanted in shown.items()}
            outputs += self.finish(emit, held, own)
        return emit.graph("one_step", inputs, outputs, own=False)


def _require_repeatable(net: Spiking) -> None:
    if net.encoder.steps is None and not net.encoder.constant:
        raise ExportError(
            f"the input encoder '{net.encoder.spec()}' makes spikes of its own, which no exported "
            "loop repeats",
            hint="write the step form, which takes the encoded input of every step, or convert "
            "the network with --encoder direct",
        )
