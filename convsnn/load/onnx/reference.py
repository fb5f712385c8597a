"""The original ONNX file run by ONNX Runtime: what an import must reproduce."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor

from convsnn.errors import LoadError
from convsnn.load.onnx.answer import Answer, find_answer
from convsnn.load.onnx.file import Opened, open_file
from convsnn.load.onnx.order import reads
from convsnn.load.onnx.precision import coarsest, widened
from convsnn.load.onnx.shown import shown

_EXACTLY = {"QuantizeLinear"}  # what the runtime would fuse into arithmetic of its own


class OnnxReference:
    """A function from a float32 batch (B, *input shape) to all outputs, (B, ...), in order.

    `dtype` is the coarsest float type that the file computes in. The runs of a file with a fixed
    batch size are slices of that size.
    """

    def __init__(self, path: str | Path, output: str | None = None) -> None:
        """Raises LoadError where the file is damaged, has several inputs, or is refused by ONNX
        Runtime."""
        opened = open_file(path)
        answer = find_answer(opened, output)
        self._path = shown(path)
        if len(answer.inputs) != 1:
            names = ", ".join(i.name for i in answer.inputs) or "none"
            raise LoadError(
                f"'{self._path}' needs exactly one data input to be run; it has: {names}"
            )
        entry = answer.inputs[0]
        self._name, self._size = entry.name, entry.dims[0] if entry.dims else None
        self._outputs = list(answer.outputs)
        self.dtype = coarsest(opened.model, answer.nodes)
        self._session, kind = self._opened(opened, answer, entry.kind)
        self._kind = onnx.helper.tensor_dtype_to_np_dtype(kind)
        self._given = onnx.helper.tensor_dtype_to_np_dtype(entry.kind)

    def rounded(self, x: Tensor) -> Tensor:
        """`x` as the file's input holds it."""
        return torch.from_numpy(x.detach().cpu().numpy().astype(self._given).astype(np.float32))

    def __call__(self, x: Tensor) -> list[Tensor]:
        """Outputs on `x`, float32; LoadError where they are no numbers."""
        array = self.rounded(x).numpy().astype(self._kind)
        size = self._size or len(array)
        parts = [self._run(part) for part in _slices(array, size)]
        joined = [
            np.concatenate([self._rows(o, size) for o in outputs])
            for outputs in zip(*parts, strict=True)
        ]
        results = [torch.from_numpy(o[: len(array)].astype(np.float32)) for o in joined]
        for name, result in zip(self._outputs, results, strict=True):
            if not bool(torch.isfinite(result).all()):
                raise LoadError(
                    f"'{self._path}': its output '{shown(name)}' is not finite on this input",
                    hint="check the file's weights, and that the input has the range it was "
                    "trained on",
                )
        return results

    def _opened(
        self, opened: Opened, answer: Answer, kind: int
    ) -> tuple[ort.InferenceSession, int]:
        """A session, and the type of its input: that of the file, or float32 where ONNX Runtime
        has no kernels for it."""
        whole = opened.whole and answer.untouched
        source: str | bytes = os.fspath(opened.path)
        if not whole:
            source = self._bytes(_reduced(opened, answer))
        exactly = any(node.op_type in _EXACTLY for node in answer.nodes)
        try:
            return _session(source, exactly=exactly), kind
        except Exception as error:  # ONNX Runtime raises a type of its own for every status code
            unknown = type(error).__name__ == "NotImplemented" or "bfloat16" in str(error)
            if not unknown or self.dtype == torch.float32:
                raise self._refused(error) from None
        wide = widened(_reduced(opened, answer))
        try:
            session = _session(self._bytes(wide), exactly=exactly)
        except Exception as error:  # as above
            raise self._refused(error) from None
        return session, wide.graph.input[0].type.tensor_type.elem_type

    def _refused(self, error: Exception) -> LoadError:
        return LoadError(
            f"ONNX Runtime {ort.__version__} cannot load '{self._path}': {_first_line(error)}"
        )

    def _bytes(self, model: onnx.ModelProto) -> bytes:
        try:
            return bytes(model.SerializeToString())
        except Exception as error:  # protobuf's own type, for a message over 2 GiB
            raise LoadError(
                f"'{self._path}' is too large to be run with a part left out: {_first_line(error)}",
                hint="export it with its answer as the only output and without functions",
            ) from None

    def _run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        try:
            results: list[NDArray[Any]] = self._session.run(self._outputs, {self._name: batch})
        except Exception as error:  # as above
            raise LoadError(
                f"ONNX Runtime cannot run '{self._path}' on {batch.shape}: {_first_line(error)}",
                hint="check that the input has the shape that the file declares",
            ) from None
        return results

    def _rows(self, output: NDArray[Any], size: int) -> NDArray[Any]:
        """One row for each sample, also where a file for one sample drops the batch axis."""
        if output.shape[:1] == (size,):
            return output
        if size != 1:
            raise LoadError(f"'{self._path}': {size} samples give an output of {output.shape}")
        return output[None]


def onnx_reference(path: str | Path, *, output: str | None = None) -> OnnxReference:
    """The file at `path` as a function, with the answer that `load_onnx` takes from it."""
    return OnnxReference(path, output)


def _reduced(opened: Opened, answer: Answer) -> onnx.ModelProto:
    """The model with the nodes, inputs and outputs of the answer only."""
    model, graph = onnx.ModelProto(), opened.model.graph
    for entry in ("ir_version", "producer_name", "domain", "model_version"):
        setattr(model, entry, getattr(opened.model, entry))
    model.opset_import.extend(opened.model.opset_import)
    model.graph.name = graph.name or "network"
    model.graph.node.extend(answer.nodes)
    kept = {entry.name for entry in answer.inputs}
    needed = set(answer.outputs).union(*(reads(node) for node in answer.nodes))
    model.graph.input.extend(value for value in graph.input if value.name in kept)
    model.graph.initializer.extend(t for t in graph.initializer if t.name in needed)
    model.graph.sparse_initializer.extend(
        t for t in graph.sparse_initializer if t.values.name in needed
    )
    given = {value.name: value for value in graph.output}
    for name in answer.outputs:
        model.graph.output.append(given.get(name) or onnx.ValueInfoProto(name=name))
    return model


def _session(source: str | bytes, *, exactly: bool) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    if exactly:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _slices(array: NDArray[Any], size: int) -> Sequence[NDArray[Any]]:
    """Slices of `size` samples; the last one is filled up by repeating its last sample."""
    missing = -len(array) % size
    if missing:
        array = np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])
    return [array[i : i + size] for i in range(0, len(array), size)]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
