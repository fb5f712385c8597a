"""Turns trained ReLU networks into calibrated spiking networks, and says what it cost."""

import importlib
import sys
import warnings
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from convsnn.export import load_artifact, save_artifact
    from convsnn.load import load_module, load_onnx
    from convsnn.plugins import load_plugins
    from convsnn.simulate import simulate
    from convsnn.workflows.convert.conversion import convert
    from convsnn.workflows.convert.loading import load
    from convsnn.workflows.snn import SNN

# What the front hands out, and where it lives: read when it is first asked for, since torch alone
# takes seconds.
_HOMES = {
    "SNN": "convsnn.workflows.snn",
    "convert": "convsnn.workflows.convert.conversion",
    "load": "convsnn.workflows.convert.loading",
    "load_artifact": "convsnn.export",
    "load_module": "convsnn.load",
    "load_onnx": "convsnn.load",
    "load_plugins": "convsnn.plugins",
    "save_artifact": "convsnn.export",
    "simulate": "convsnn.simulate",
}

__all__ = [
    "SNN",
    "convert",
    "load",
    "load_artifact",
    "load_module",
    "load_onnx",
    "load_plugins",
    "save_artifact",
    "simulate",
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
        setattr(self, name, found)
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *_HOMES})


sys.modules[__name__].__class__ = _Front
