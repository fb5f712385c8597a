"""The original ONNX file run by ONNX Runtime: what an import must reproduce."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor

from convsnn.errors import LoadError
from convsnn.load.onnx.file import data_inputs, read_model


def onnx_reference(path: str | Path) -> Callable[[Tensor], list[Tensor]]:
    """A function from a float32 batch (B, *input shape) to all outputs, (B, ...), in order.

    A file with a fixed batch size is run in slices of that size. Raises LoadError where the file
    is damaged, has several inputs, or is refused by ONNX Runtime.
    """
    inputs = data_inputs(read_model(path))
    if len(inputs) != 1:
        names = ", ".join(i.name for i in inputs) or "none"
        raise LoadError(f"'{path}' needs exactly one data input to be run; it has: {names}")
    entry = inputs[0]
    fixed = entry.dims[0] if entry.dims else None
    kind = onnx.helper.tensor_dtype_to_np_dtype(entry.kind)
    session = _session(path)

    def reference(x: Tensor) -> list[Tensor]:
        array = x.detach().cpu().numpy().astype(kind)
        size = fixed or len(array)
        parts = [_run(path, session, entry.name, part) for part in _slices(array, size)]
        joined = [
            np.concatenate([_rows(path, o, size) for o in outputs])
            for outputs in zip(*parts, strict=True)
        ]
        return [torch.from_numpy(o[: len(array)].astype(np.float32)) for o in joined]

    return reference


def _session(path: str | Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises a type of its own for every status code
        raise LoadError(
            f"ONNX Runtime {ort.__version__} cannot load '{path}': {_first_line(error)}"
        ) from None


def _run(
    path: str | Path, session: ort.InferenceSession, name: str, batch: NDArray[Any]
) -> list[NDArray[Any]]:
    try:
        return session.run(None, {name: batch})
    except Exception as error:  # as above
        raise LoadError(
            f"ONNX Runtime cannot run '{path}' on {batch.shape}: {_first_line(error)}",
            hint="check that the input has the shape that the file declares",
        ) from None


def _slices(array: NDArray[Any], size: int) -> list[NDArray[Any]]:
    """Slices of `size` samples; the last one is filled up by repeating its last sample."""
    missing = -len(array) % size
    if missing:
        array = np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])
    return [array[i : i + size] for i in range(0, len(array), size)]


def _rows(path: str | Path, output: NDArray[Any], size: int) -> NDArray[Any]:
    """One row for each sample, also where a file for one sample drops the batch axis."""
    if output.shape[:1] == (size,):
        return output
    if size != 1:
        raise LoadError(f"'{path}': {size} samples give an output of {output.shape}")
    return output[None]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
