"""Spiking networks as ONNX graphs that any ONNX runtime steps through, without this project."""

from convsnn.export.onnx.model import Form, onnx_model, save_onnx
from convsnn.registry import import_siblings

import_siblings(__name__, __path__)  # ops that enter themselves into the table of writers

__all__ = ["Form", "onnx_model", "save_onnx"]
