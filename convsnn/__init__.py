"""Turns trained ReLU networks into calibrated spiking networks, and says what it cost."""

from convsnn.export import load_artifact, save_artifact
from convsnn.load import load_module, load_onnx
from convsnn.measure import evaluate
from convsnn.simulate import simulate
from convsnn.workflows.convert.network import convert

__version__ = "0.1.0"

__all__ = [
    "convert",
    "evaluate",
    "load_artifact",
    "load_module",
    "load_onnx",
    "save_artifact",
    "simulate",
]
