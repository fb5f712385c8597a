"""Opens an ONNX file safely: what it is, its opset, tensors kept beside it, its inputs."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx.inliner
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]
from onnx import TensorProto
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_tensor

from convsnn.errors import LoadError

OLDEST_OPSET = 7
FLOATS = frozenset(
    TensorProto.DataType.Value(name) for name in ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16")
)
INTEGERS = frozenset(
    TensorProto.DataType.Value(name)
    for name in ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "BOOL")
)
_DEFAULT_DOMAIN = ("", "ai.onnx")
_REEXPORT = "export the network to ONNX again, or check that the file was copied completely"


@dataclass(frozen=True)
class Input:
    """A data input of a file: dimensions (None where free or unnamed) and ONNX element type."""

    name: str
    dims: tuple[int | None, ...] | None
    kind: int


def read_metadata(path: str | Path) -> dict[str, str]:
    """The file's `metadata_props`; LoadError as for `read_model`."""
    return {entry.key: entry.value for entry in _parsed(Path(path)).metadata_props}


def read_model(path: str | Path) -> onnx.ModelProto:
    """Parse the file with its external tensors, functions inlined.

    Raises LoadError where it is missing, damaged, no ONNX model, of an opset that cannot be
    read, or keeps a tensor outside its own folder.
    """
    path = Path(path)
    model = _parsed(path)
    for tensor in _tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            _load_external(path, tensor)
    return _inlined(path, model)


def _parsed(path: Path) -> onnx.ModelProto:
    """The file itself, without the tensors beside it."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise LoadError(f"'{path}' cannot be read: {reason}", hint="check the path") from None
    except (DecodeError, ValueError) as error:
        raise LoadError(
            f"'{path}' is not an ONNX model, or is damaged: {error}", hint=_REEXPORT
        ) from None
    if not _is_text(model):
        raise LoadError(f"'{path}' is damaged: a name in it is no text", hint=_REEXPORT)
    if not model.graph.output:
        raise LoadError(f"'{path}' holds no ONNX network (it has no output)", hint=_REEXPORT)
    _check_opset(path, model)
    return model


def _is_text(message: Message) -> bool:
    """Whether all names can be read; protobuf hands damaged ones on as bytes."""
    for entry, value in message.ListFields():
        if entry.name == "doc_string":
            continue
        if entry.type == entry.TYPE_STRING:
            if any(isinstance(t, bytes) for t in ([value] if isinstance(value, bytes) else value)):
                return False
        elif entry.type == entry.TYPE_MESSAGE:
            parts = [value] if isinstance(value, Message) else value
            if not all(_is_text(part) for part in parts):
                return False
    return True


def opset_of(model: onnx.ModelProto) -> int:
    """Version of the default operator set; 0 where the file names none."""
    return max((o.version for o in model.opset_import if o.domain in _DEFAULT_DOMAIN), default=0)


def data_inputs(model: onnx.ModelProto) -> list[Input]:
    """The inputs that are no initializers; LoadError for one that is no tensor."""
    constants = {tensor.name for tensor in model.graph.initializer}
    constants |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    found = []
    for value in model.graph.input:
        if value.name in constants:
            continue
        kind = value.type.tensor_type
        if not value.type.HasField("tensor_type") or kind.elem_type not in FLOATS | INTEGERS:
            raise LoadError(f"input '{value.name}' is no tensor of numbers")
        dims = None
        if kind.HasField("shape"):
            dims = tuple(
                d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None
                for d in kind.shape.dim
            )
        found.append(Input(value.name, dims, kind.elem_type))
    return found


def _check_opset(path: Path, model: onnx.ModelProto) -> None:
    opset, newest = opset_of(model), onnx.defs.onnx_opset_version()
    if opset == 0:
        raise LoadError(f"'{path}' names no opset of the standard ONNX operators", hint=_REEXPORT)
    if opset < OLDEST_OPSET:
        raise LoadError(
            f"'{path}' uses opset {opset}; the oldest that can be read is {OLDEST_OPSET}",
            hint="export it again with a newer opset, or convert it with onnx.version_converter",
        )
    if opset > newest:
        raise LoadError(
            f"'{path}' uses opset {opset}; the installed onnx {onnx.__version__} knows up to "
            f"{newest}",
            hint=f"export it again with opset {newest} or older, or install a newer onnx",
        )


def _tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Every tensor stored in the file, those of subgraphs and functions included."""
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _node_tensors(node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _node_tensors(node)


def _node_tensors(node: onnx.NodeProto) -> Iterator[TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for graph in (attribute.g, *attribute.graphs):
            yield from _graph_tensors(graph)


def _load_external(path: Path, tensor: TensorProto) -> None:
    """Read one tensor from a file beside the model, and from nowhere else."""
    folder = path.resolve().parent
    where = next((e.value for e in tensor.external_data if e.key == "location"), "")
    target = (folder / where).resolve()
    if not where or Path(where).is_absolute() or not target.is_relative_to(folder):
        raise LoadError(
            f"'{path}': tensor '{tensor.name}' lies outside the model's folder ('{where}')",
            hint="keep the data file beside the .onnx file and refer to it by a relative path",
        )
    if not target.is_file():
        raise LoadError(
            f"'{path}': the data file '{where}' of tensor '{tensor.name}' is missing",
            hint="copy it beside the .onnx file",
        )
    try:
        info = ExternalDataInfo(tensor)
        if (info.offset or 0) + (info.length or 0) > target.stat().st_size:
            raise ValueError("the data file is too short")
        load_external_data_for_tensor(tensor, str(folder))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise LoadError(
            f"'{path}': tensor '{tensor.name}' cannot be read from '{where}': {error}",
            hint=_REEXPORT,
        ) from None
    tensor.data_location = TensorProto.DEFAULT
    del tensor.external_data[:]


def _inlined(path: Path, model: onnx.ModelProto) -> onnx.ModelProto:
    if not model.functions:
        return model
    try:
        return onnx.inliner.inline_local_functions(model)
    except (RuntimeError, ValueError, DecodeError) as error:
        raise LoadError(
            f"'{path}': its functions cannot be inlined: {error}", hint=_REEXPORT
        ) from None
