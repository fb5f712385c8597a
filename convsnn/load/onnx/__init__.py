"""ONNX files as graphs; each file of this folder but the reader's own is one family of ops."""

from convsnn.load.onnx.base import ONNX_OPS
from convsnn.load.onnx.file import read_metadata
from convsnn.load.onnx.importer import load_onnx, read_onnx
from convsnn.load.onnx.reference import onnx_reference
from convsnn.registry import import_siblings

import_siblings(__name__, __path__)

__all__ = ["ONNX_OPS", "load_onnx", "onnx_reference", "read_metadata", "read_onnx"]
