"""Neurons, stages, encoders and whatever else registries hold, from packages outside this project.

A plug-in is a module that enrols its own when it is imported. Installed packages name theirs as
entry points of the group `convsnn.plugins`; others are named by the user.
"""

import importlib
import os
from collections.abc import Iterable
from importlib.metadata import entry_points
from typing import Any

from convsnn.errors import ConfigError, LoadError
from convsnn.registry import enrolling_for

GROUP = "convsnn.plugins"
VARIABLE = "CONVSNN_PLUGINS"

_LOADED: dict[str, None] = {}


def loaded() -> tuple[str, ...]:
    """The plug-ins that are there, in the order they came."""
    return tuple(_LOADED)


def load_plugins(names: Iterable[str]) -> None:
    """Import the modules `names`, each once; processes that are started later get them too.

    Raises ConfigError for one that cannot be imported or enrols a name that is taken.
    """
    for name in names:
        _load(name, name)
        known = [part for part in os.environ.get(VARIABLE, "").split(",") if part]
        if name not in known:
            os.environ[VARIABLE] = ",".join([*known, name])


def load_installed() -> list[ConfigError]:
    """Import those that the environment and installed packages name.

    Raises what `load_plugins` does for those of the environment; returns what is wrong with
    installed ones, since a package that is broken must not keep all others from working.
    """
    load_plugins(part.strip() for part in os.environ.get(VARIABLE, "").split(",") if part.strip())
    wrong = []
    for entry in entry_points(group=GROUP):
        try:
            _load(entry.value, entry.name)
        except ConfigError as error:
            wrong.append(error)
    return wrong


def require_loaded(names: Any) -> None:
    """LoadError where a file names plug-ins that are not there: none is imported for its sake."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise LoadError("the list of plug-ins is damaged")
    missing = [name for name in names if name not in _LOADED]
    if missing:
        raise LoadError(
            f"it needs the plug-in {' and '.join(missing)}, which is not loaded",
            hint=f"install it, or name it with {' '.join(f'--plugin {name}' for name in missing)}",
        )


def _load(module: str, name: str) -> None:
    module = module.partition(":")[0]  # an entry point may name something in it
    if module in _LOADED:
        return
    try:
        with enrolling_for(module):
            importlib.import_module(module)
    except Exception as error:  # a module of somebody else can raise anything
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"the plug-in '{name}' cannot be loaded: {type(error).__name__}: {first}",
            hint="name an importable module, like --plugin package.module",
        ) from None
    _LOADED[module] = None
