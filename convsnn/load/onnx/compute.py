"""Values of nodes whose inputs are all constant: computed by ONNX Runtime, within a budget.

Constants, sparse or not, and `DequantizeLinear` are read by their formulas. Everything else runs
in ONNX Runtime, one node at a time and with its inputs as they are, so that no more is computed
than the budget was asked for; what it has no kernel for, onnx's own reference computes.
"""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from convsnn.errors import out_of_memory
from convsnn.load.onnx.budget import Budget

Arrays = Mapping[str, NDArray[Any]]
# Ops that can make more of their inputs than they hold: their size must be known beforehand.
_GROW = frozenset(
    {
        *("Expand", "Tile", "Range", "ConstantOfShape", "Resize", "Upsample", "Pad", "OneHot"),
        *("CenterCropPad", "Col2Im", "MaxUnpool", "DFT", "STFT", "AffineGrid", "MelWeightMatrix"),
        *("BlackmanWindow", "HannWindow", "HammingWindow", "ConvTranspose", "DepthToSpace"),
        *("TensorScatter", "GridSample", "RoiAlign", "MaxRoiPool"),
    }
)
_PRODUCTS = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose", "MatMulInteger", "Einsum"})
# Ops whose cost grows with more than the size of what they read and make.
_COSTLY = frozenset(
    {
        *("NonMaxSuppression", "LSTM", "GRU", "RNN", "Det", "DFT", "STFT", "Attention"),
        *("GridSample", "RoiAlign", "MaxRoiPool", "DeformConv", "LRN"),
        *("AveragePool", "MaxPool", "LpPool", "TopK", "Unique", "ConvInteger", "QLinearConv"),
        *("QLinearMatMul", "LinearAttention", "CausalConvWithState"),
    }
)
_TEXT = "it works with text, which is no part of a network"


def compute(
    node: onnx.NodeProto,
    known: Arrays,
    sizes: Mapping[str, int | None],
    *,
    opset: int,
    budget: Budget,
    label: str,
) -> dict[str, NDArray[Any]]:
    """Values of the node's outputs; ValueError with the reason where it has none.

    `sizes` are the numbers of elements of its outputs as far as they are known. LoadError where
    the budget does not allow it.
    """  # fmt: skip
    what = f"node '{label}' ({node.op_type})"
    if any(array.dtype.kind in "OSU" for array in known.values()):
        raise ValueError(_TEXT)
    if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
        raise ValueError("what it computes with an inner graph is not folded")
    if node.op_type == "Constant":
        made = [constant(node, budget, what)]
    else:
        _charge(node, known, sizes, budget, what)
        if node.op_type == "DequantizeLinear":
            made = [_dequantized(node, known)]
        else:
            made = _run(node, known, opset)
    names = [name for name in node.output if name]
    if any(not isinstance(m, (np.ndarray, np.generic)) for m in made):
        raise ValueError("its constant result is no tensor")
    return {n: np.asarray(m) for n, m in zip(names, made, strict=True)}


def _charge(
    node: onnx.NodeProto, known: Arrays, sizes: Mapping[str, int | None], budget: Budget, what: str
) -> None:
    inputs = sum(array.size for array in known.values())
    if node.op_type in _GROW and None in sizes.values():
        raise ValueError("the size of its result cannot be told beforehand")
    outputs = sum(inputs if size is None else size for size in sizes.values())
    budget.hold(outputs, what)
    work = inputs + outputs
    if node.op_type in _PRODUCTS:
        work = outputs * max((_depth(array) for array in known.values()), default=1)
    elif node.op_type in _COSTLY:
        work = max(inputs, 1) * max(inputs, outputs)
    budget.compute(work, what)


def _depth(array: NDArray[Any]) -> int:
    """An upper bound of how many products one element of a matrix product or convolution sums."""
    return max(array.shape[-1:] + array.shape[-2:-1] + (prod(array.shape[1:]),), default=1)


def constant(node: onnx.NodeProto, budget: Budget, what: str) -> NDArray[Any]:
    """The value that a Constant node holds."""
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if attribute.name == "sparse_value":
            return dense(value, budget, what)
        if attribute.name == "value":
            return stored(value, budget, what)
        if attribute.name in ("value_float", "value_floats"):
            return np.array(value, dtype=np.float32)
        if attribute.name in ("value_int", "value_ints"):
            return np.array(value, dtype=np.int64)
    raise ValueError(_TEXT)


def stored(tensor: onnx.TensorProto, budget: Budget, what: str) -> NDArray[Any]:
    """The values of a tensor in the file; ValueError where it is damaged or holds text."""
    if tensor.data_type == onnx.TensorProto.STRING:
        raise ValueError(_TEXT)
    if any(n < 0 for n in tensor.dims):
        raise ValueError(f"it has the shape {tuple(tensor.dims)}")
    budget.hold(prod(tensor.dims), what)
    try:
        return onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError, RuntimeError, KeyError, OverflowError) as error:
        raise ValueError(str(error)) from None


def dense(sparse: onnx.SparseTensorProto, budget: Budget, what: str) -> NDArray[Any]:
    """A sparse tensor with its zeros written out."""
    shape = tuple(sparse.dims)
    if any(n < 0 for n in shape):
        raise ValueError(f"it has the shape {shape}")
    budget.hold(prod(shape), what)
    values = stored(sparse.values, budget, what).reshape(-1)
    places = stored(sparse.indices, budget, what)
    if places.dtype.kind not in "iu" or places.shape[:1] != values.shape:
        raise ValueError("its indices do not fit its values")
    if places.ndim == 2 and places.shape[1] == len(shape):
        if places.size and ((places < 0) | (places >= np.array(shape))).any():
            raise ValueError("its indices lie outside its shape")
        places = np.ravel_multi_index(tuple(places.T), shape) if places.size else places[:, 0]
    elif places.ndim != 1:
        raise ValueError("its indices do not fit its shape")
    if places.size and not 0 <= places.min() <= places.max() < prod(shape):
        raise ValueError("its indices lie outside its shape")
    array = np.zeros(prod(shape), dtype=values.dtype)
    array[places] = values
    return array.reshape(shape)


def _dequantized(node: onnx.NodeProto, known: Arrays) -> NDArray[Any]:
    """(x - zero point) * scale, for the whole tensor, along an axis, or in blocks of it."""
    given = [known[name] for name in node.input if name]
    settings = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    axis, block = settings.get("axis", 1), settings.get("block_size", 0)
    x, scale = given[0], given[1].astype(np.float32)
    zero = given[2].astype(np.float32) if len(given) > 2 else np.float32(0)
    made = (x.astype(np.float32) - _along(zero, x, axis, block)) * _along(scale, x, axis, block)
    kind = settings.get("output_dtype", 0)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind) if kind else given[1].dtype
    return np.asarray(made.astype(dtype))


def _along(values: Any, x: NDArray[Any], axis: int, block: int) -> Any:
    """Scales or zero points in a shape that meets `x`."""
    array = np.asarray(values)
    if array.size == 1:
        return array.reshape(())
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"it has axis {axis}, but its input has {x.ndim} axes")
    axis %= x.ndim
    if block and array.ndim == x.ndim:
        array = np.repeat(array, block, axis=axis) if block <= x.shape[axis] else array
        return array.take(range(x.shape[axis]), axis=axis)
    if array.ndim != 1 or len(array) != x.shape[axis]:
        raise ValueError(f"its scale of shape {array.shape} does not fit {x.shape}")
    return array.reshape(-1, *[1] * (x.ndim - axis - 1))


def _run(node: onnx.NodeProto, known: Arrays, opset: int) -> list[NDArray[Any]]:
    names = [name for name in node.output if name]
    graph = onnx.helper.make_graph(
        [node],
        "constant",
        [_declared(name, array) for name, array in known.items()],
        [onnx.ValueInfoProto(name=name) for name in names],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    model.ir_version = min(model.ir_version, 10)
    try:
        return _in_runtime(model, known)
    except Exception as error:  # ONNX Runtime raises a type of its own for every status code
        if out_of_memory(error):
            raise
        first = _line(error)
    try:
        results = ReferenceEvaluator(graph, opsets={"": opset}).run(None, dict(known))
    except Exception as error:  # numpy code, which raises whatever numpy raises
        if out_of_memory(error):
            raise
        raise ValueError(f"its constant inputs cannot be evaluated: {first}") from None
    return list(results)


def _declared(name: str, array: NDArray[Any]) -> onnx.ValueInfoProto:
    kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    return onnx.helper.make_tensor_value_info(name, kind, array.shape)


def _in_runtime(model: onnx.ModelProto, known: Arrays) -> list[NDArray[Any]]:
    if any(array.dtype.name == "bfloat16" for array in known.values()):
        raise ValueError("ONNX Runtime takes no bfloat16 here")
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    results: list[NDArray[Any]] = session.run(None, dict(known))
    return results


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
