"""The float types of a file: the coarsest it computes in, and the file with float32 in its place.

ONNX Runtime has no kernels for some types on a CPU (bfloat16, convolutions of doubles); the file
is then run with its numbers as they are, but computing in float32.
"""

from collections.abc import Iterator, Sequence

import onnx
import torch
from onnx import TensorProto

from convsnn.load.onnx.order import inner_graphs

_TYPES = {
    TensorProto.BFLOAT16: torch.bfloat16,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.DOUBLE: torch.float64,
}
_TYPED = frozenset({"to", "dtype", "output_dtype", "stash_type"})  # attributes that name a type


def coarsest(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> torch.dtype:
    """The coarsest float type among inputs, constants and casts; float32 bounds it from above."""
    found = set(_kinds(model, nodes))
    for kind in (TensorProto.BFLOAT16, TensorProto.FLOAT16):
        if kind in found:
            return _TYPES[kind]
    return torch.float64 if found == {TensorProto.DOUBLE} else torch.float32


def _kinds(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> Iterator[int]:
    read = {name for node in nodes for name in node.input}
    floats = {TensorProto.FLOAT, *_TYPES}
    for value in model.graph.input:
        if value.type.tensor_type.elem_type in floats:
            yield value.type.tensor_type.elem_type
    for tensor in model.graph.initializer:
        if tensor.data_type in floats and tensor.name in read:
            yield tensor.data_type
    for node in nodes:
        for attribute in node.attribute:
            if attribute.name in _TYPED and attribute.i in floats:
                yield attribute.i
            if attribute.HasField("t") and attribute.t.data_type in floats:
                yield attribute.t.data_type


def widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model in which bfloat16, float16 and double are float32."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    _widen(made.graph)
    return made


def _widen(graph: onnx.GraphProto) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type in _TYPES:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    for sparse in graph.sparse_initializer:
        _widen_tensor(sparse.values)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name in _TYPED and attribute.i in _TYPES:
                attribute.i = TensorProto.FLOAT
            if attribute.HasField("t"):
                _widen_tensor(attribute.t)
        for inner in inner_graphs(node):
            _widen(inner)


def _widen_tensor(tensor: TensorProto) -> None:
    if tensor.data_type in _TYPES:
        array = onnx.numpy_helper.to_array(tensor).astype("float32")
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
