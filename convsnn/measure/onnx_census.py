"""Counts the activations, norms and products of an ONNX file by reading its nodes with `onnx`.

Independent of the import: a node counts where it can be reached from the file's data inputs.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from convsnn.errors import LoadError
from convsnn.measure.census import Census

_ACTIVATIONS = {
    "Gelu", "Elu", "Selu", "Celu", "HardSwish", "HardSigmoid", "Sigmoid", "Tanh", "Softplus",
    "Softsign", "Mish", "Swish", "Softmax", "LogSoftmax", "Erf", "Attention",
}  # fmt: skip
_READOUTS = {"Softmax", "LogSoftmax", "Sigmoid"}  # where nothing reads them
_NORMS = {
    "LayerNormalization": "layer norm",
    "GroupNormalization": "group norm",
    "InstanceNormalization": "instance norm",
    "RMSNormalization": "RMS norm",
    "LpNormalization": "vector norm",
    "LRN": "local response norm",
    "BatchNormalization": "batch norm",
}
_PRODUCTS = {"Mul", "Div", "MatMul", "Gemm", "Conv"}
_NONLINEAR = {
    "Abs", "Pow", "Sqrt", "Reciprocal", "Exp", "Log", "Floor", "Round", "Sign", "Max", "Min",
    "Where", "TopK", "ArgMax", "Shrink", "ReduceL2", "ThresholdedRelu",
}  # fmt: skip
_TEXTS = "OSU"  # kinds of numpy arrays, from which it would read numbers
_SIZES = {"Shape", "Size"}  # known from the shapes alone, whatever the values


def count_onnx(path: Path) -> Census:
    """The census of the ONNX file at `path`; LoadError where it is none."""
    try:
        graph = onnx.load(path, load_external_data=False).graph
    except Exception as error:  # protobuf and onnx raise many types for a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LoadError(f"'{path}' is no ONNX file that can be read: {reason}") from None
    constants = dict(_constants(graph))
    stored = {tensor.name for tensor in graph.initializer}
    moving = {value.name for value in graph.input if value.name not in stored}
    read = {name for node in graph.node for name in node.input}
    found: dict[str, Counter[str]] = {}
    for node in graph.node:
        reached = [name for name in node.input if name in moving]
        if not reached or node.op_type in _SIZES:
            continue
        moving.update(node.output)
        group, kind = _sort(node, len(reached), constants)
        readout = node.op_type in _READOUTS and not read.intersection(node.output)
        if group and not readout:
            found.setdefault(group, Counter())[kind] += 1
    return Census.of(found)


def _constants(graph: onnx.GraphProto) -> "Iterator[tuple[str, _Constant]]":
    for tensor in graph.initializer:
        yield tensor.name, _Constant(tensor)
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute:
            yield node.output[0], _Constant(onnx.helper.get_attribute_value(node.attribute[0]))


@dataclass(frozen=True)
class _Constant:
    """A constant as the file has it, decoded only when asked for: weights never are."""

    held: Any

    def array(self) -> npt.NDArray[np.float64] | None:
        """Its values; None where they are no numbers, or are not in the file itself."""
        held = self.held
        try:
            if isinstance(held, onnx.TensorProto):
                if held.data_location == onnx.TensorProto.EXTERNAL:
                    return None
                held = numpy_helper.to_array(held)
            array = np.asarray(held)
            return None if array.dtype.kind in _TEXTS else array.astype(np.float64)
        except (TypeError, ValueError):  # a damaged tensor: the import says what is wrong with it
            return None

    def number(self) -> float | None:
        """Its only value, if it is one number."""
        array = self.array()
        return float(array.item()) if array is not None and array.size == 1 else None

    def is_zero(self) -> bool:
        """Whether it is known to be zero everywhere."""
        array = self.array()
        return array is not None and not array.any()


def _sort(
    node: onnx.NodeProto, moving: int, constants: Mapping[str, "_Constant"]
) -> tuple[str, str]:
    """The group and kind of a node; two empty texts where it is linear or a pool."""
    op = node.op_type
    if op == "Relu":
        return "rectifiers", "relu"
    if op in ("LeakyRelu", "PRelu"):
        return "rectifiers", "leaky relu" if op == "LeakyRelu" else "prelu"
    if op == "Clip":
        low, high = _bound(node, 1, "min", constants), _bound(node, 2, "max", constants)
        if low == 0:
            return "rectifiers", "relu" if high is None else f"clip {high:g}"
        return "others", f"clamp [{low}, {high}]"
    if op == "ThresholdedRelu" and _alpha(node) == 0:
        return "rectifiers", "relu"
    if op == "Max" and moving == 1 and _beside_zero(node, constants):
        return "rectifiers", "relu"
    if op in _ACTIVATIONS:
        return "activations", op
    if op in _NORMS:
        return "norms", _NORMS[op]
    if op in _PRODUCTS and moving > 1:
        return "products", op
    return ("others", op) if op in _NONLINEAR else ("", "")


def _alpha(node: onnx.NodeProto) -> float:
    return next((float(a.f) for a in node.attribute if a.name == "alpha"), 1.0)


def _beside_zero(node: onnx.NodeProto, constants: Mapping[str, "_Constant"]) -> bool:
    """Whether all inputs but one are constants of zeros."""
    zeros = [name for name in node.input if name in constants and constants[name].is_zero()]
    return 0 < len(zeros) == len(node.input) - 1


def _bound(
    node: onnx.NodeProto,
    place: int,
    name: str,
    constants: Mapping[str, "_Constant"],
) -> float | None:
    """A bound of a Clip: an attribute up to opset 10, an input later; None where there is none."""
    for attribute in node.attribute:
        if attribute.name == name:
            return float(attribute.f)
    given = node.input[place] if len(node.input) > place else ""
    return constants[given].number() if given in constants else None
