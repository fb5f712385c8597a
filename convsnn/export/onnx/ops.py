"""How each op of our graph is written in ONNX (opset 17); pools stand in `pools`."""

from collections.abc import Callable, Sequence

from convsnn.errors import ExportError
from convsnn.export.onnx import doubles
from convsnn.export.onnx.emitter import Emitter
from convsnn.graph import Graph, Node

Writer = Callable[[Emitter, Graph, Node, Sequence[str]], str]

WRITERS: dict[str, Writer] = {}


def writes(op: str) -> Callable[[Writer], Writer]:
    """Decorator: enter the writer of an op, `write(emit, graph, node, values of its inputs)`."""

    def enter(writer: Writer) -> Writer:
        WRITERS[op] = writer
        return writer

    return enter


def write(emit: Emitter, graph: Graph, node: Node, given: Sequence[str]) -> str:
    """Append what computes `node` from the values `given`; returns the name of its value."""
    writer = WRITERS.get(node.op)
    if writer is None:
        raise ExportError(
            f"layer '{node.name}' ({node.op}) has no form in ONNX here",
            hint="keep the network as network.safetensors",
        )
    return writer(emit, graph, node, given)


def _plain(op: str, kind: str) -> None:
    """An op that ONNX has under another name, with the same inputs and no attributes."""

    @writes(op)
    def writer(emit: Emitter, graph: Graph, node: Node, given: Sequence[str]) -> str:
        del graph
        return emit.op(kind, *given, name=node.name)


for _op, _kind in {
    "add": "Add", "sub": "Sub", "add_constant": "Add", "scale": "Mul", "sigmoid": "Sigmoid",
}.items():  # fmt: skip
    _plain(_op, _kind)


@writes("identity")
def _identity(emit: Emitter, graph: Graph, node: Node, given: Sequence[str]) -> str:
    del emit, graph, node
    return given[0]


@writes("conv")
def _conv(emit: Emitter, graph: Graph, node: Node, given: Sequence[str]) -> str:
    if emit.is_double:
        return doubles.convolved(emit, graph, node, given)
    a = node.attrs
    return emit.op(
        "Conv", *given, name=node.name, strides=list(a["stride"]), pads=list(a["padding"]),
        dilations=list(a["dilation"]), group=a.get("groups", 1),
    )  # fmt: skip


@writes("conv_transpose")
def _conv_transpose(emit: Emitter, graph: Graph, node: Node, given: Sequence[str]) -> str:
    del graph
    doubles.require_float32(emit, node, "transposed convolution")
    a = node.attrs
    begins = list(a["padding"][: len(a["padding"]) // 2])
    return emit.op(
        "ConvTranspose", *given, name=node.name, strides=list(a["stride"]), pads=begins * 2,
        dilations=list(a["dilation"]), output_padding=list(a["output_padding"]),
        group=a.get("groups", 1),
    )  # fmt: skip


@writes("linear")
def _linear(emit: Emitter, graph: Graph, node: Node, given: Sequence[str]) -> str:
    source = graph.data_inputs(node)[0]
    if len(graph.shapes[source]) == 1:
        return emit.op("Gemm", *given, name=node.name, transB=1)
    turned = emit.op("Transpose", given[1], perm=[1, 0])
    product = emit.op("MatMul", given[0], turned, name=node.name)
    return product if len(given) == 2 else emit.op("Add", product, given[2])


@writes("batch_norm")
def _batch_norm(emit: Emitter, graph: Graph, node: Node, given: Sequence[str]) -> str:
    del graph
    return emit.op(
        "BatchNormalization", *given, name=node.name, epsilon=float(node.attrs["epsilon"])
    )


@writes("concat")
def _concat(emit: Emitter, graph: Graph, node: Node, given: Sequence[str]) -> str:
    del graph
    return emit.op("Concat", *given, name=node.name, axis=node.attrs["dim"])


@writes("slice")
def _slice(emit: Emitter, graph: Graph, node: Node, given: Sequence[str]) -> str:
    del graph
    a = node.attrs
    bounds = (a["start"], a["stop"], a["dim"], a.get("step", 1))
    return emit.op("Slice", given[0], *(emit.whole(v) for v in bounds), name=node.name)


@writes("pad")
def _pad(emit: Emitter, graph: Graph, node: Node, given: Sequence[str]) -> str:
    pads, rank = node.attrs["pads"], len(graph.shapes[node.name]) + 1
    begins, ends = [0] * rank, [0] * rank
    for place in range(len(pads) // 2):  # the last axis first
        begins[rank - 1 - place], ends[rank - 1 - place] = pads[2 * place], pads[2 * place + 1]
    return emit.op("Pad", given[0], emit.whole(*begins, *ends), name=node.name)


@writes("reshape")
def _reshape(emit: Emitter, graph: Graph, node: Node, given: Sequence[str]) -> str:
    del graph
    return emit.op("Reshape", given[0], emit.whole(0, *node.attrs["shape"]), name=node.name)


@writes("permute")
def _permute(emit: Emitter, graph: Graph, node: Node, given: Sequence[str]) -> str:
    del graph
    return emit.op("Transpose", given[0], name=node.name, perm=list(node.attrs["dims"]))


@writes("softmax")
@writes("softmax_inside")
def _softmax(emit: Emitter, graph: Graph, node: Node, given: Sequence[str]) -> str:
    del graph
    return emit.op("Softmax", given[0], name=node.name, axis=node.attrs["dim"])


@writes("log_softmax")
@writes("log_softmax_inside")
def _log_softmax(emit: Emitter, graph: Graph, node: Node, given: Sequence[str]) -> str:
    del graph
    return emit.op("LogSoftmax", given[0], name=node.name, axis=node.attrs["dim"])


@writes("upsample")
def _upsample(emit: Emitter, graph: Graph, node: Node, given: Sequence[str]) -> str:
    doubles.require_float32(emit, node, "Resize")
    mode, corners = node.attrs["mode"], bool(node.attrs.get("align_corners"))
    how = {"nearest": "nearest", "bicubic": "cubic"}.get(mode, "linear")
    if mode not in ("nearest", "linear", "bilinear", "trilinear", "bicubic"):
        raise ExportError(f"layer '{node.name}': upsampling '{mode}' has no form in ONNX here")
    place = "align_corners" if corners else "pytorch_half_pixel"
    attrs = {"coordinate_transformation_mode": "asymmetric" if how == "nearest" else place}
    if how == "nearest":
        attrs["nearest_mode"] = "floor"
    sizes = emit.op("Concat", emit.batch(given[0]), emit.whole(*graph.shapes[node.name]), axis=0)
    return emit.op(
        "Resize", given[0], "", "", sizes, name=node.name, mode=how, cubic_coeff_a=-0.75, **attrs
    )
