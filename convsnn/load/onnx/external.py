"""Tensors that an ONNX file keeps in files beside it: found, measured and read, from nowhere else.

A data file is looked for beside the path that the user named, and, where that is a link (the
caches of model hubs are made of links), beside the file it leads to. Followed to its real place,
it must lie within one of these two folders.
"""

import os
from collections.abc import Iterator
from math import prod
from pathlib import Path

import onnx
from onnx import TensorProto
from onnx.external_data_helper import ExternalDataInfo

from convsnn.errors import LoadError
from convsnn.load.onnx.budget import Budget
from convsnn.load.onnx.order import inner_graphs
from convsnn.load.onnx.shown import shown

_REEXPORT = "export the network to ONNX again, or check that the file was copied completely"
_HALF_BYTES = frozenset(
    kind
    for name, kind in TensorProto.DataType.items()
    if name in ("INT4", "UINT4", "FLOAT4E2M1", "INT2", "UINT2")  # not all in every onnx
)


def load_external(path: Path, model: onnx.ModelProto, budget: Budget) -> None:
    """Read every external tensor into the model; LoadError where one cannot be or may not be."""
    for tensor in _tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            _load(path, tensor, budget)


def is_external(model: onnx.ModelProto) -> bool:
    """Whether the file keeps a tensor outside itself."""
    return any(tensor.data_location == TensorProto.EXTERNAL for tensor in _tensors(model))


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
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
    for graph in inner_graphs(node):
        yield from _graph_tensors(graph)


def _load(path: Path, tensor: TensorProto, budget: Budget) -> None:
    name = shown(tensor.name)
    where = next((e.value for e in tensor.external_data if e.key == "location"), "")
    target = _found(path, name, where)
    if any(n < 0 for n in tensor.dims) or tensor.data_type in (0, TensorProto.STRING):
        raise LoadError(f"'{shown(path)}': tensor '{name}' has no size that can be read")
    count = prod(tensor.dims)
    budget.hold(count, f"'{shown(path)}': tensor '{name}' of shape {tuple(tensor.dims)}")
    try:
        info = ExternalDataInfo(tensor)
        size = _bytes(tensor.data_type, count)
        if info.length is not None and info.length != size:
            raise ValueError(f"its length is {info.length} bytes and should be {size}")
        if (info.offset or 0) < 0 or (info.offset or 0) + size > target.stat().st_size:
            raise ValueError("the data file is too short")
        with target.open("rb") as file:
            file.seek(info.offset or 0)
            tensor.raw_data = file.read(size)
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise LoadError(
            f"'{shown(path)}': tensor '{name}' cannot be read from '{shown(where)}': {error}",
            hint=_REEXPORT,
        ) from None
    tensor.data_location = TensorProto.DEFAULT
    del tensor.external_data[:]


def _bytes(kind: int, count: int) -> int:
    if kind in _HALF_BYTES:
        quarter = TensorProto.DataType.Name(kind) in ("INT2", "UINT2")
        return -(-count // 4) if quarter else -(-count // 2)
    return count * int(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize)


def _found(path: Path, name: str, where: str) -> Path:
    """The real place of the data file; LoadError where it is missing or lies elsewhere."""
    outside = LoadError(
        f"'{shown(path)}': tensor '{name}' lies outside the model's folder ('{shown(where)}')",
        hint="keep the data file beside the .onnx file and refer to it by a relative path",
    )
    if not where or Path(where).is_absolute():
        raise outside
    missing = True
    try:
        folders = list(dict.fromkeys([path.parent.resolve(), path.resolve().parent]))
        for folder in folders:
            target = Path(os.path.realpath(folder / where))
            within = any(target.is_relative_to(allowed) for allowed in folders)
            if within and target.is_file():
                return target
            missing = missing and within
    except (OSError, ValueError, RuntimeError) as error:  # a NUL, a loop of links, a name too long
        raise LoadError(
            f"'{shown(path)}': the data file '{shown(where)}' of tensor '{name}' cannot be found: "
            f"{getattr(error, 'strerror', None) or error}",
            hint=_REEXPORT,
        ) from None
    if not missing:
        raise outside
    raise LoadError(
        f"'{shown(path)}': the data file '{shown(where)}' of tensor '{name}' is missing",
        hint="copy it beside the .onnx file",
    )
