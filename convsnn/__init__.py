"""Turns trained ReLU networks into calibrated spiking networks, and says what it cost."""

import importlib
import sys
import warnings
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from convsnn.errors import ConvsnnError
    from convsnn.export import load_artifact, save_artifact
    from convsnn.load import load_module, load_onnx
    from convsnn.plugins import load_plugins
    from convsnn.simulate import simulate
    from convsnn.workflows.bench import bench
    from convsnn.workflows.catalogue import catalogue
    from convsnn.workflows.compare import compare
    from convsnn.workflows.convert.conversion import convert
    from convsnn.workflows.convert.loading import load
    from convsnn.workflows.coverage import coverage
    from convsnn.workflows.figures import figures
    from convsnn.workflows.inspect import inspect
    from convsnn.workflows.snn import SNN
    from convsnn.workflows.train import train
    from convsnn.workflows.tune import tune

# What the front hands out, and where it lives: read when it is first asked for, since torch alone
# takes seconds.
_HOMES = {
    "ConvsnnError": "convsnn.errors",
    "SNN": "convsnn.workflows.snn",
    "bench": "convsnn.workflows.bench",
    "catalogue": "convsnn.workflows.catalogue",
    "compare": "convsnn.workflows.compare",
    "convert": "convsnn.workflows.convert.conversion",
    "coverage": "convsnn.workflows.coverage",
    "figures": "convsnn.workflows.figures",
    "inspect": "convsnn.workflows.inspect",
    "load": "convsnn.workflows.convert.loading",
    "load_artifact": "convsnn.export",
    "load_module": "convsnn.load",
    "load_onnx": "convsnn.load",
    "load_plugins": "convsnn.plugins",
    "save_artifact": "convsnn.export",
    "simulate": "convsnn.simulate",
    "train": "convsnn.workflows.train",
    "tune": "convsnn.workflows.tune",
}

_SPELLING = "convsnn.workflows.running.spelling"

__all__ = [
    "SNN",
    "ConvsnnError",
    "bench",
    "catalogue",
    "compare",
    "convert",
    "coverage",
    "figures",
    "inspect",
    "load",
    "load_artifact",
    "load_module",
    "load_onnx",
    "load_plugins",
    "save_artifact",
    "simulate",
    "train",
    "tune",
]


class _Front(ModuleType):
    """Some functions have the name of a folder; that the folder is imported does not hide them."""

    def __getattr__(self, name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'convsnn' has no attribute '{name}'")
        if not self.__dict__.get("_asked"):  # installed plug-ins come before what they add to
            super().__setattr__("_asked", True)
            for error in importlib.import_module("convsnn.plugins").load_installed():
                warnings.warn(str(error), stacklevel=2)
        found = getattr(importlib.import_module(_HOMES[name]), name)
        if isinstance(found, FunctionType) and _HOMES[name].startswith("convsnn.workflows."):
            found = importlib.import_module(_SPELLING).in_keywords(found)
            found.__module__, found.__qualname__ = "convsnn", name  # where pickle finds it again
        setattr(self, name, found)
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *_HOMES})


sys.modules[__name__].__class__ = _Front
