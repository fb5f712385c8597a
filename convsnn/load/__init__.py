"""The entrances: torch modules, ONNX files, and weights for modules."""

from convsnn.load.onnx import load_onnx, onnx_reference, read_metadata, read_onnx
from convsnn.load.torch_module import load_module
from convsnn.load.weights import load_factory, load_weights

__all__ = [
    "load_factory",
    "load_module",
    "load_onnx",
    "load_weights",
    "onnx_reference",
    "read_metadata",
    "read_onnx",
]
