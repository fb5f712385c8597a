"""Reads ONNX nodes one by one: folds constants, applies the registered ops, notes what blocks."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from convsnn.errors import Blocker, LoadError
from convsnn.load.onnx import evaluate, folded, turned
from convsnn.load.onnx.base import ONNX_OPS, REFUSED, Net
from convsnn.load.onnx.compute import dense, stored
from convsnn.load.onnx.file import INTEGERS
from convsnn.load.onnx.folded import FOLDABLE
from convsnn.load.onnx.naming import label_of, source_of
from convsnn.load.onnx.order import reads, sorted_nodes
from convsnn.load.onnx.shown import shown
from convsnn.load.onnx.values import BatchMixed, Blocked, Constant, Data, Lost, Value

_RUNTIME = "com.microsoft"
_UNFUSED = (
    "export without the runtime's own fusions: take the file from before the runtime optimised it, "
    "or save it with graph_optimization_level ORT_DISABLE_ALL"
)
_IN_QDQ = "quantise the original in the QDQ format (quant_format=QuantFormat.QDQ)"
# Ops that read the shape of their input, or pass it on: whole numbers do no harm there.
_ANY_TYPE = {"Cast", "CastLike", "Shape", "Size", "Identity"}
# Ops that may bring back a batch axis that an earlier node ran together with others.
_ANY_DIMS = _ANY_TYPE | {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Gather", "Dropout"}
_ANY_ORDER = _ANY_TYPE | {"Transpose", "GatherND", "Concat", "ReduceSum", "ReduceMean"}
_ANY_ORDER |= {"Gather", "Split", "Squeeze", "Slice", "ScatterND"}


@dataclass
class Reader:
    """Applies the registered ops to the nodes of one file."""

    net: Net
    blocked: list[Blocker] = field(default_factory=list)
    mixed: BatchMixed | None = None
    lost: bool = False

    def read(self, graph: onnx.GraphProto, wanted: Iterable[str]) -> None:
        """Read what `wanted` values of a graph need, its constants first."""
        self.read_nodes(graph, sorted_nodes(graph.node), wanted)

    def read_nodes(
        self, graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto], wanted: Iterable[str]
    ) -> None:
        """The same with the nodes already sorted."""
        needed = set(wanted)
        chosen = []
        for node in reversed(nodes):
            if needed.intersection(node.output):
                needed |= reads(node)
                chosen.append(node)
        self._enter_constants(graph, needed)
        for node in reversed(chosen):
            self._read_node(node, tuple(n if n in needed else "" for n in node.output))

    def _enter_constants(self, graph: onnx.GraphProto, needed: set[str]) -> None:
        budget, values = self.net.budget, self.net.values
        made: list[tuple[str, Callable[[str], NDArray[Any]]]] = [
            (t.name, partial(stored, t, budget)) for t in graph.initializer
        ]
        made += [(t.values.name, partial(dense, t, budget)) for t in graph.sparse_initializer]
        for name, read in made:
            if name not in needed:
                continue
            try:
                values[name] = Constant(name, read(f"tensor '{shown(name)}'"))
            except ValueError as error:
                raise LoadError(f"tensor '{shown(name)}' is damaged: {error}") from None

    def _read_node(self, node: onnx.NodeProto, outputs: tuple[str, ...]) -> None:
        net = self.net
        net.label = label_of(node)
        net.budget.read(1, f"node '{shown(net.label)}' ({shown(node.op_type)})")
        net.op, net.outputs = shown(node.op_type), outputs
        net.builder.source = source_of(node)
        for name in node.input:
            if name and name not in net.values:
                raise net.error(f"reads '{shown(name)}', which no node makes")
        if evaluate.schema_of(node, net.opset) is not None:
            evaluate.check(node, net.label, net.opset)
        inputs = [net.values[name] if name else None for name in node.input]
        try:
            with np.errstate(all="ignore"):  # numbers out of range are the file's own affair
                self._enter(node, inputs)
        except BatchMixed as error:
            self.mixed = self.mixed or error
            self._lose(outputs)

    def _enter(self, node: onnx.NodeProto, inputs: list[Value]) -> None:
        net = self.net
        if any(isinstance(value, Lost) for value in inputs):
            if node.op_type in REFUSED:
                self._block(_refusal(node.op_type))
            self._lose(node.output)
            return
        try:
            if node.op_type == "If" and inputs:
                self._branch(node, inputs[0])
                return
            if node.op_type == "Loop" and len(inputs) > 1:
                self._loop(node, inputs)
                return
            if not any(isinstance(v, Data) for v in inputs):
                net.values.update(self._fold(node, inputs))
                return
            results = turned.since(inputs, self._apply(node, inputs))
        except Blocked as refusal:
            self._opaque(node, inputs, refusal)
            return
        except (TypeError, ValueError, IndexError, ZeroDivisionError, OverflowError) as error:
            raise net.error(f"is malformed: {error}") from None
        net.values.update(zip((n for n in node.output), results, strict=False))
        if any(net.outputs[len(results) :]):
            self._opaque(node, inputs, Blocked("a further output of it is used"), len(results))

    def _fold(self, node: onnx.NodeProto, inputs: list[Value]) -> dict[str, Constant]:
        if node.op_type in evaluate.RANDOM:
            raise Blocked("it draws random numbers", "export the network in evaluation mode")
        if evaluate.schema_of(node, self.net.opset) is None:
            raise _unknown(node)
        try:
            net = self.net
            return evaluate.fold(
                node, inputs, opset=net.opset, budget=net.budget, label=shown(net.label)
            )
        except ValueError as error:
            raise self.net.error(f"cannot be read: {error}") from None

    def _apply(self, node: onnx.NodeProto, inputs: list[Value]) -> Sequence[Data | Constant]:
        net = self.net
        attributes = {a.name: _plain(onnx.helper.get_attribute_value(a)) for a in node.attribute}
        if node.domain not in ("", "ai.onnx") or node.op_type not in ONNX_OPS.names():
            raise _unknown(node)
        if node.op_type not in _ANY_ORDER:
            inputs = [net.settled(v) if isinstance(v, Data) else v for v in inputs]
        data = [value for value in inputs if isinstance(value, Data)]
        if node.op_type not in _ANY_TYPE and any(value.integer for value in data):
            raise Blocked("it computes with whole numbers that depend on the input")
        around = turned.applied(net, node.op_type, inputs, attributes)
        if around is not None:
            return (around,)
        inside = self._in_parts(node, inputs, attributes)
        if inside is not None:
            return inside
        for value in data:
            allowed = _ANY_DIMS if value.order is None else _ANY_ORDER
            if value.mixed is not None and node.op_type not in allowed:
                raise value.mixed
        if node.op_type not in ("MaxPool", *_ANY_TYPE) and any(value.low for value in data):
            raise Blocked("its input is padded with minus infinity, which only MaxPool reads")
        while inputs and inputs[-1] is None:
            inputs.pop()
        result = ONNX_OPS.get(node.op_type)(net, *inputs, **attributes)
        return result if isinstance(result, Sequence) else (result,)

    def _in_parts(
        self, node: onnx.NodeProto, inputs: list[Value], attributes: dict[str, Any]
    ) -> Sequence[Data | Constant] | None:
        """The results of an op on parts of samples that run together with the batch; None where
        these do not, or where it must see them so."""
        net = self.net
        data = [value for value in inputs if isinstance(value, Data)]
        if not data or node.op_type not in FOLDABLE or any(v.integer for v in data):
            return None
        if len({folded.parts(net, v) for v in data}) != 1 or not folded.parts(net, data[0]):
            return None
        rank = len(data[0].dims or ())
        if node.op_type == "Transpose":
            moved = folded.second(net, data[0], attributes.get("perm", ()))
            if moved is not None:
                return (moved,)
        given = folded.arranged(net, node.op_type, inputs, attributes, rank)
        if given is None:
            return None
        own = [folded.unfolded(net, v) if isinstance(v, Data) else v for v in given[0]]
        op = ONNX_OPS.get(node.op_type)
        if node.op_type in folded.CHANNELLED:
            result: Any = folded.merged(net, op, own, given[1])
        else:
            result = op(net, *own, **given[1])
        made = result if isinstance(result, Sequence) else (result,)
        lost = data[0].mixed  # where the parts came to stand beside the batch
        back = [folded.folded(net, v) if isinstance(v, Data) else v for v in made]
        return [replace(v, mixed=lost) if isinstance(v, Data) else v for v in back]

    def _branch(self, node: onnx.NodeProto, condition: Value) -> None:
        """Read the branch that a constant condition chooses as if it stood in place of the If."""
        if not isinstance(condition, Constant):
            raise Blocked("it chooses a branch by the data")
        wanted = "then_branch" if bool(condition.array.all()) else "else_branch"
        graph = next((a.g for a in node.attribute if a.name == wanted), onnx.GraphProto())
        names = [value.name for value in graph.output]
        self.read(graph, names)
        for outer, inner in zip(node.output, names, strict=False):
            if inner not in self.net.values:
                raise self.net.error(f"has no value '{inner}' in its {wanted}")
            self.net.values[outer] = self.net.values[inner]

    def _loop(self, node: onnx.NodeProto, inputs: Sequence[Value]) -> None:
        """Read the body of a Loop as often as its constant number of rounds says."""
        body = next((a.g for a in node.attribute if a.name == "body"), onnx.GraphProto())
        names, made = [v.name for v in body.input], [v.name for v in body.output]
        carried = list(inputs[2:])
        if len(names) != len(inputs) or not len(made) == len(node.output) + 1 == len(inputs) - 1:
            raise Blocked("it collects what each round of a loop gives")
        rounds, going = (_one(value) for value in inputs[:2])
        count = 0
        while (rounds is None or count < rounds) and going is not False:
            self.net.budget.read(1, f"node '{shown(node.name)}' (Loop)")
            first = Constant(names[0], np.array(count, np.int64))
            self.net.values |= dict(zip(names, [first, inputs[1], *carried], strict=True))
            self.read(body, made)
            if any(name not in self.net.values for name in made):
                raise self.net.error("has a body that does not make its outputs")
            going, *carried = (self.net.values[name] for name in made)
            going, count = _one(going), count + 1
        self.net.values.update(zip(node.output, carried, strict=True))

    def _opaque(
        self, node: onnx.NodeProto, inputs: list[Value], refusal: Blocked, first: int = 0
    ) -> None:
        """Stand an opaque node in for the outputs from `first` on; lose those of unknown shape."""
        net = self.net
        self._block(refusal)
        data = list(dict.fromkeys(v for v in inputs if isinstance(v, Data)))
        shapes = evaluate.infer(node, inputs, opset=net.opset, batch=net.batch)
        for name in [n for n in net.outputs[first:] if n]:
            dims, kind = shapes[name]
            if not data or not dims or dims[0] != net.batch:
                self._lose([name])
                continue
            made = net.emit(
                "opaque",
                *data,
                kind=net.op,
                reason=refusal.reason,
                remedy=refusal.remedy,
                shape=list(dims[1:]),
            )
            net.values[name] = Data(made.name, made.shape, kind in INTEGERS)

    def _block(self, refusal: Blocked) -> None:
        label, source = self.net.label, self.net.builder.source
        self.blocked.append(Blocker(label, self.net.op, refusal.reason, refusal.remedy, source))

    def _lose(self, outputs: Iterable[str]) -> None:
        self.lost = True
        self.net.values.update({name: Lost() for name in outputs if name})


def _one(value: Value) -> Any:
    """A constant number of rounds or a constant condition; None where there is none."""
    if value is None:
        return None
    if not isinstance(value, Constant) or value.array.size != 1:
        raise Blocked("how often it runs depends on the data")
    return value.array.reshape(()).item()


def _unknown(node: onnx.NodeProto) -> Blocked:
    if node.domain.startswith(_RUNTIME):
        quantised = node.op_type.startswith(
            ("QLinear", "DynamicQuantize", "MatMulInteger", "QGemm")
        )
        return Blocked(
            f"{shown(node.op_type)} is no operator of ONNX: ONNX Runtime put it into the file",
            _IN_QDQ if quantised else _UNFUSED,
        )
    if node.domain not in ("", "ai.onnx"):
        text = f"the op {shown(node.op_type)} of '{shown(node.domain)}' is no operator of ONNX"
        return Blocked(text, "export the network with the standard operators only")
    return Blocked(f"the op {shown(node.op_type)} has no spiking form here")


def _refusal(kind: str) -> Blocked:
    """What a refused op says, found without knowing its inputs."""
    reason, remedy = REFUSED[kind]
    return Blocked(reason, remedy)


def _plain(value: Any) -> Any:
    """An attribute's value with text instead of bytes."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value
