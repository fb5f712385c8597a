"""What a zoo entry is, and how a file of this folder enrols one.

A model is one file and one `@model(...)`: everything a command needs to use the network (input
shape, preprocessing, data to calibrate and score on, bundled weights) stands beside its code.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.overrides import TorchFunctionMode

from convsnn.errors import ConfigError, LoadError
from convsnn.registry import Registry
from zoo.data import Preprocessing

WEIGHTS = Path(__file__).parent.parent / "weights"

Builder = TypeVar("Builder", bound=Callable[[], nn.Module])


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One network of the zoo; `input_shape` is that of one sample, without the batch.

    `data` is the data spec it is calibrated and scored on where the user names none, `weights`
    the name of a bundled safetensors file. Either is None where nothing is bundled. `thresholds`
    are the learnable ones that training it as a spiking network adds, one for each layer of
    neurons in its paper; the network as it stands, with ReLUs, holds none of them.
    """

    name: str
    build: Callable[[], nn.Module]
    input_shape: tuple[int, ...]
    classes: int
    preprocessing: Preprocessing
    data: str | None
    weights: str | None
    description: str
    thresholds: int = 0

    @property
    def weights_path(self) -> Path | None:
        """Where the bundled weights lie; None where none are bundled."""
        return None if self.weights is None else WEIGHTS / self.weights

    def module(self, weights: bool = True) -> nn.Module:
        """The network in eval mode: (B, *input_shape) float32 -> (B, classes) logits.

        With `weights` the bundled ones are loaded, or ConfigError where none are bundled and
        LoadError where the file is missing or does not fit; without, the initialisation is random.
        """
        module = self.build()
        if weights:
            if self.weights_path is None:
                raise ConfigError(
                    f"no weights are bundled for zoo model '{self.name}'",
                    hint="give a checkpoint of it, or ask for the model without weights",
                )
            _load_bundled(module, self.weights_path, self.name)
        return module.eval()


def _load_bundled(module: nn.Module, path: Path, name: str) -> None:
    try:
        module.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise LoadError(
            f"the bundled weights {path.name} of zoo model '{name}' cannot be loaded: {error}",
            hint=f"install again, or make them anew with: python -m zoo.train {name}",
        ) from None


MODELS: Registry[Entry] = Registry("zoo model")


def model(
    name: str,
    description: str,
    *,
    input_shape: tuple[int, ...],
    classes: int,
    preprocessing: Preprocessing,
    data: str | None = None,
    weights: str | None = None,
    thresholds: int = 0,
) -> Callable[[Builder], Builder]:
    """Decorator: enrol a function or class that builds the network, without arguments."""

    def enrol(build: Builder) -> Builder:
        entry = Entry(
            name=name,
            build=build,
            input_shape=input_shape,
            classes=classes,
            preprocessing=preprocessing,
            data=data,
            weights=weights,
            description=description,
            thresholds=thresholds,
        )

        def factory() -> Entry:
            return entry

        factory.__doc__ = description
        MODELS.register(name)(factory)
        return build

    return enrol


class _Undrawn(TorchFunctionMode):
    """Draws no weights where there is no memory for them: torch takes seconds to do nothing."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in (torch.Tensor.normal_, torch.Tensor.uniform_):
            return args[0]
        return func(*args, **(kwargs or {}))


def _describe(entry: Entry) -> dict[str, Any]:
    with torch.device("meta"), _Undrawn():
        module = entry.build()
    # A learnable threshold is a parameter named `threshold`; it is counted apart from the weights.
    sizes = [(key.rpartition(".")[2], p.numel()) for key, p in module.named_parameters()]
    held = sum(size for leaf, size in sizes if leaf == "threshold")
    return {
        "name": entry.name,
        "parameters": sum(size for leaf, size in sizes if leaf != "threshold"),
        "thresholds": held + entry.thresholds,
        "input_shape": list(entry.input_shape),
        "classes": entry.classes,
        "weights": "bundled" if entry.weights else None,
        "description": entry.description,
    }


def describe() -> list[dict[str, Any]]:
    """One row per model, sorted by name, in plain JSON values; no memory for weights is taken.

    `thresholds` counts learnable thresholds, those a network holds and those that training it as a
    spiking one adds (0 where its paper trains none), and `parameters` all other learnable values;
    `weights` is "bundled" or None.
    """
    return [_describe(MODELS.create(name)) for name in MODELS.names()]
