"""What onnx itself knows of a node: its value where all inputs are constant, else its shape."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import onnx
from numpy.typing import NDArray

from convsnn.errors import LoadError
from convsnn.load.onnx.budget import Budget
from convsnn.load.onnx.compute import compute
from convsnn.load.onnx.shown import shown
from convsnn.load.onnx.values import Constant, Data, Value

_SMALL = 1 << 12  # constants up to this size may decide the shape of an output
_RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomUniform"}
_SHAPED_AS_INPUT = {"GroupNormalization", "MeanVarianceNormalization"}  # onnx does not say so
RANDOM = _RANDOM | {"RandomNormalLike", "RandomUniformLike"}


class Inferred(NamedTuple):
    """Shape, batch included, and ONNX element type of an output; None where not known."""

    dims: tuple[int, ...] | None
    kind: int


def schema_of(node: onnx.NodeProto, opset: int) -> onnx.defs.OpSchema | None:
    """The standard's description of the node's op; None for an op it does not know."""
    if node.domain not in ("", "ai.onnx"):
        return None
    try:
        return onnx.defs.get_schema(node.op_type, opset)
    except onnx.defs.SchemaError:
        return None


def check(node: onnx.NodeProto, label: str, opset: int) -> None:
    """Raise LoadError unless the node has the inputs and attributes that the standard gives it."""
    if any(attribute.HasField("g") for attribute in node.attribute):
        return  # the checker would need to know what surrounds the inner graph
    context = onnx.checker.C.CheckerContext()
    context.ir_version = onnx.IR_VERSION
    context.opset_imports = {"": opset}
    try:
        onnx.checker.check_node(node, context)
    except onnx.checker.ValidationError as error:
        text = shown(str(error).strip().splitlines()[0])
        raise LoadError(f"node '{label}' ({shown(node.op_type)}) is malformed: {text}") from None


def fold(
    node: onnx.NodeProto, inputs: Sequence[Value], *, opset: int, budget: Budget, label: str
) -> dict[str, Constant]:
    """Values of a node whose inputs are constant; ValueError with the reason where it has none.

    LoadError where they are larger, or take longer, than the budget allows.
    """
    known = _arrays(node, inputs)
    sizes = {
        name: None if found.dims is None else prod(found.dims)
        for name, found in infer(node, inputs, opset=opset, batch=1).items()
    }
    made = compute(node, known, sizes, opset=opset, budget=budget, label=label)
    return {name: Constant(name, array) for name, array in made.items()}


def infer(
    node: onnx.NodeProto, inputs: Sequence[Value], *, opset: int, batch: int
) -> dict[str, Inferred]:
    """Shape and type of every output as onnx's own shape inference gives them."""
    unknown = {name: Inferred(None, 0) for name in node.output if name}
    schema = schema_of(node, opset)
    types = {n: t for n, v in zip(node.input, inputs, strict=False) if (t := _type(v, batch))}
    if schema is None or any(name and name not in types for name in node.input):
        return unknown
    data = {
        name: onnx.numpy_helper.from_array(array, name)
        for name, array in _arrays(node, inputs).items()
        if array.size <= _SMALL
    }
    opsets = [onnx.helper.make_opsetid("", opset)]
    try:
        found = onnx.shape_inference.infer_node_outputs(
            schema, node, types, data, opset_imports=opsets
        )
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, RuntimeError):
        return unknown  # the caller reports the op as one whose shape is not known
    if node.op_type in _SHAPED_AS_INPUT:
        return {**unknown, node.output[0]: _inferred(types[node.input[0]])}
    return {**unknown, **{name: _inferred(kind) for name, kind in found.items()}}


def _arrays(node: onnx.NodeProto, inputs: Sequence[Value]) -> Mapping[str, NDArray[Any]]:
    """The constant inputs under the names that the node knows them by."""
    pairs = zip(node.input, inputs, strict=False)
    return {name: value.array for name, value in pairs if isinstance(value, Constant)}


def _type(value: Value, batch: int) -> onnx.TypeProto | None:
    if isinstance(value, Constant):
        kind = onnx.helper.np_dtype_to_tensor_dtype(value.array.dtype)
        return onnx.helper.make_tensor_type_proto(kind, value.array.shape)
    if isinstance(value, Data):
        kind = onnx.TensorProto.INT64 if value.integer else onnx.TensorProto.FLOAT
        return onnx.helper.make_tensor_type_proto(kind, (batch, *value.shape))
    return None


def _inferred(kind: onnx.TypeProto) -> Inferred:
    tensor = kind.tensor_type
    if not tensor.HasField("shape") or not all(d.HasField("dim_value") for d in tensor.shape.dim):
        return Inferred(None, tensor.elem_type)
    return Inferred(tuple(d.dim_value for d in tensor.shape.dim), tensor.elem_type)
