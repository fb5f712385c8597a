"""Opens an ONNX file safely: what it is, its opset, its inputs."""

from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]
from onnx import TensorProto

from convsnn.errors import LoadError
from convsnn.load.onnx.budget import Budget
from convsnn.load.onnx.external import is_external, load_external
from convsnn.load.onnx.functions import inlined
from convsnn.load.onnx.shown import shown

OLDEST_OPSET = 7
FLOATS = frozenset(
    TensorProto.DataType.Value(name) for name in ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16")
)
INTEGERS = frozenset(
    TensorProto.DataType.Value(name)
    for name in ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "BOOL")
)
_LARGEST_FILE = 1 << 31  # of protobuf; larger networks keep their tensors beside the file
_DEFAULT_DOMAIN = ("", "ai.onnx")
_REEXPORT = "export the network to ONNX again, or check that the file was copied completely"


@dataclass(frozen=True)
class Input:
    """A data input of a file: dimensions (None where free or unnamed) and ONNX element type."""

    name: str
    dims: tuple[int | None, ...] | None
    kind: int


@dataclass(frozen=True)
class Opened:
    """A file with its external tensors, functions inlined; `whole` where it was neither changed
    nor had anything beside it, so that it can be run from where it lies."""

    path: Path
    model: onnx.ModelProto
    budget: Budget
    whole: bool


def read_metadata(path: str | Path) -> dict[str, str]:
    """The file's `metadata_props`; LoadError as for `open_file`."""
    return {entry.key: entry.value for entry in _parsed(Path(path)).metadata_props}


def open_file(path: str | Path, budget: Budget | None = None) -> Opened:
    """Parse the file with its external tensors, functions inlined.

    Raises LoadError where it is missing, damaged, no ONNX model, of an opset that cannot be
    read, keeps a tensor outside its own folder, or takes more than the budget allows.
    """
    path, budget = Path(path), budget or Budget()
    model = _parsed(path)
    whole = not model.functions and not is_external(model) and str(path).isprintable()
    model = inlined(f"'{shown(path)}'", model, budget)
    load_external(path, model, budget)
    return Opened(path, model, budget, whole)


def _parsed(path: Path) -> onnx.ModelProto:
    """The file itself, without the tensors beside it."""
    model = onnx.ModelProto()
    try:
        if path.exists() and not path.is_dir() and not path.is_file():
            raise ValueError("it is no file")  # a pipe or a device, which may never end
        if path.exists() and path.stat().st_size > _LARGEST_FILE:
            raise ValueError("it is larger than 2 GiB, which no ONNX file can be")
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # the latter also for a path with a NUL
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise LoadError(
            f"'{shown(path)}' cannot be read: {reason}", hint="check the path"
        ) from None
    try:
        model.ParseFromString(data)
    except (DecodeError, ValueError) as error:
        raise LoadError(
            f"'{shown(path)}' is not an ONNX model, or is damaged: {error}", hint=_REEXPORT
        ) from None
    if not _is_text(model):
        raise LoadError(f"'{shown(path)}' is damaged: a name in it is no text", hint=_REEXPORT)
    if not model.graph.output:
        raise LoadError(f"'{shown(path)}' holds no ONNX network (it has no output)", hint=_REEXPORT)
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
            raise LoadError(f"input '{shown(value.name)}' is no tensor of numbers")
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
        raise LoadError(
            f"'{shown(path)}' names no opset of the standard ONNX operators", hint=_REEXPORT
        )
    if opset < OLDEST_OPSET:
        raise LoadError(
            f"'{shown(path)}' uses opset {opset}; the oldest that can be read is {OLDEST_OPSET}",
            hint="export it again with a newer opset, or convert it with onnx.version_converter",
        )
    if opset > newest:
        raise LoadError(
            f"'{shown(path)}' uses opset {opset}; the installed onnx {onnx.__version__} knows up "
            f"to {newest}",
            hint=f"export it again with opset {newest} or older, or install a newer onnx",
        )
