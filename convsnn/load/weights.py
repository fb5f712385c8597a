"""A user's own network: its trained weights from a file, its module from `package.module:factory`.

Weights are data here: nothing is unpickled that is not a plain tensor or container. A factory is
code that the user names, and importing it runs it.
"""

import contextlib
import difflib
import importlib
import inspect
import os
import pickle
import pkgutil
import re
import sys
import sysconfig
import traceback
import types
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from convsnn.errors import LoadError
from convsnn.load.prefixes import unprefixed
from convsnn.load.wrappers import unwrap
from convsnn.registry import nearest

_PICKLED = (".pt", ".pth", ".th", ".bin")
_CONTAINERS = ("state_dict", "model", "model_state_dict")
_SHOWN = 10
_RESAVE = (
    "nothing is unpickled here but plain tensors: where you trust the file, load it yourself and "
    "save its state_dict with safetensors.torch.save_file"
)


def load_weights(
    module: nn.Module, path: Path, *, note: Callable[[str], None] | None = None
) -> None:
    """Fill `module` in place with the weights in `path`, cast to the module's float types.

    Reads .safetensors, and .pt, .pth, .th or .bin as torch.save writes them. Weights may lie in a
    dictionary under `state_dict`, `model` or `model_state_dict`, and their names may carry the
    prefixes of wrappers (`module.`, `_orig_mod.`, `model.`, `net.`), at the front or within; what
    was taken off is said to `note`. Wrappers around `module` itself do not matter. Raises LoadError
    where the file is missing, damaged, holds anything but tensors, does not fit (all names at
    once), or holds values that are not finite; the module is then unchanged.
    """
    path, module = Path(path), unwrap(module)
    own = module.state_dict()
    state, taken_off = unprefixed(_tensors(path, _read(path)), own)
    _check_fit(path, state, own)
    _check_finite(path, state)
    try:
        module.load_state_dict(state)
    except (RuntimeError, TypeError, ValueError) as error:
        raise LoadError(
            f"the weights '{path}' cannot be put into {type(module).__name__}: {error}"
        ) from None
    if taken_off and note is not None:
        note(f"took {' and '.join(taken_off)} off the names in '{path}'")


def _read(path: Path) -> Any:
    """Whatever a weights file holds."""
    if not os.path.isfile(path):
        what = "is not a plain file" if os.path.exists(path) else "does not exist"
        raise LoadError(f"the weights file '{path}' {what}", hint=f"looked for {path.absolute()}")
    suffix = path.suffix.lower()
    if suffix != ".safetensors" and suffix not in _PICKLED:
        raise LoadError(
            f"'{path}' is no weights file that is known by its name",
            hint=f"known: .safetensors, {', '.join(_PICKLED)}",
        )
    try:
        if suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's advice to those who call it themselves
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes either of them raise almost anything
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> LoadError:
    text = str(error)
    if isinstance(error, PermissionError):
        return LoadError(f"the weights '{path}' cannot be read: {error.strerror}")
    if os.path.isfile(path) and os.path.getsize(path) == 0:
        return LoadError(f"the weights '{path}' are empty: the file has no bytes")
    refused = re.search(r"GLOBAL ([\w.]+)", text)
    if isinstance(error, pickle.UnpicklingError) and refused:
        return LoadError(
            f"'{path}' is a pickle of more than plain weights: it asks for {refused[1].strip('.')}",
            hint=_RESAVE,
        )
    if isinstance(error, pickle.UnpicklingError):
        return LoadError(
            f"'{path}' is damaged, or a pickle of more than plain weights", hint=_RESAVE
        )
    if "TorchScript" in text:
        return LoadError(f"'{path}' is a TorchScript program, not plain weights", hint=_RESAVE)
    reason = re.split(r"\n|\. ", text or type(error).__name__)[0]
    return LoadError(
        f"the weights '{path}' are damaged, cut short or of another format ({reason})",
        hint="copy the file again, or save the module's state_dict once more",
    )


def _tensors(path: Path, held: Any) -> dict[str, Tensor]:
    """The weights by name, taken out of the usual container around them."""
    for key in _CONTAINERS:
        if isinstance(held, Mapping) and _is_state(held.get(key)):
            held = held[key]
            break
    if _is_state(held):
        return dict(held)
    what = f"a {type(held).__name__}"
    if isinstance(held, Mapping):
        entries = [f"{k!r} ({type(v).__name__})" for k, v in held.items() if not _is_weight(k, v)]
        what = f"a dictionary with {_some(entries)}" if held else "an empty dictionary"
    raise LoadError(
        f"'{path}' holds {what}, not a dictionary of tensors",
        hint=f"save module.state_dict() itself, or under one of: {', '.join(_CONTAINERS)}",
    )


def _is_weight(name: Any, value: Any) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor)


def _is_state(held: Any) -> bool:
    return isinstance(held, Mapping) and bool(held) and all(_is_weight(*i) for i in held.items())


def _check_fit(path: Path, state: Mapping[str, Tensor], own: Mapping[str, Any]) -> None:
    # The count of batches seen in training is of no use here, and old checkpoints lack it.
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    wrong = []
    for name, value in state.items():
        wanted = own.get(name)
        if value.layout != torch.strided or value.is_meta:
            wrong.append(f"{name} is sparse or without values")
        elif not isinstance(wanted, Tensor) or is_lazy(wanted):
            continue
        elif value.shape != wanted.shape:
            wrong.append(f"{name} is {tuple(value.shape)}, not {tuple(wanted.shape)}")
        elif wanted.is_floating_point() and not value.is_floating_point():
            wrong.append(f"{name} is {value.dtype}, not a float type")
    unexpected = [name for name in state if name not in own]
    lists = {"missing": missing, "unexpected": unexpected, "wrong": wrong}
    parts = [f"{what}: {_some(names)}" for what, names in lists.items() if names]
    if parts:
        raise LoadError(
            f"the weights '{path}' do not fit the module; {'; '.join(parts)}",
            hint="build the module with the same sizes and options that it was trained with",
        )


def _check_finite(path: Path, state: Mapping[str, Tensor]) -> None:
    bad = []
    for name, value in state.items():
        if value.is_floating_point():
            # 8-bit floats have no isfinite
            wide = value.float() if value.element_size() == 1 else value
            count = int((~wide.isfinite()).sum())
            if count:
                bad.append(f"{name} ({count} of {value.numel()})")
    if bad:
        raise LoadError(
            f"the weights '{path}' hold NaN or infinite values: {_some(bad)}",
            hint="the training that made them diverged; take an earlier checkpoint",
        )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def load_factory(spec: str) -> nn.Module:
    """The module that `package.module:factory` names: a function or class to call, or a module.

    The current directory is looked in first, as by `python -m`. Raises LoadError where the import
    or the call fails, naming the exception and the user's own line.
    """
    path, colon, name = spec.strip().partition(":")
    if not colon or not name or not all(part.isidentifier() for part in path.split(".")):
        raise LoadError(
            f"'{spec}' is not of the form package.module:factory",
            hint="name the module as in an import, without .py: networks.small:build",
        )
    with _current_directory_first():
        return _build(spec, _attribute(_import(path), name))


@contextlib.contextmanager
def _current_directory_first() -> Iterator[None]:
    sys.path.insert(0, "")
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what the user's code prints is no result
            yield
    finally:
        with contextlib.suppress(ValueError):  # the user's code may have taken it out itself
            sys.path.remove("")


def _import(path: str) -> types.ModuleType:
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if not f"{path}.".startswith(f"{missing}."):  # an import inside the user's module
            raise _raised(f"importing '{path}'", error) from None
        parent, _, leaf = missing.rpartition(".")
        folders = getattr(sys.modules.get(parent), "__path__", []) if parent else ["."]
        known = [found.name for found in pkgutil.iter_modules(folders)]
        where = f"'{parent}'" if parent else "the current directory or the installed packages"
        hint = "leave out .py" if leaf == "py" else _hint(leaf, known)
        raise LoadError(f"there is no module '{leaf}' in {where}", hint=hint) from None
    except (Exception, SystemExit) as error:  # the user's code can raise anything
        raise _raised(f"importing '{path}'", error) from None


def _attribute(module: types.ModuleType, name: str) -> Any:
    try:
        return getattr(module, name)
    except AttributeError:
        usable = [
            key for key, value in vars(module).items()
            if not key.startswith("_") and (isinstance(value, nn.Module) or callable(value))
        ]  # fmt: skip
        raise LoadError(
            f"module '{module.__name__}' has no '{name}'", hint=_hint(name, usable)
        ) from None


def _build(spec: str, found: Any) -> nn.Module:
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        raise LoadError(
            f"'{spec}' is of type {type(found).__name__}, neither a module nor a factory"
        )
    needed = _needed(found)
    if needed:
        raise LoadError(
            f"'{spec}' needs arguments: {', '.join(needed)}",
            hint="write a function that takes none and calls it with them, and name that one",
        )
    try:
        made = found()
    except (Exception, SystemExit) as error:  # the user's code can raise anything
        raise _raised(f"calling '{spec}'", error) from None
    if not isinstance(made, nn.Module):
        what = type(made).__name__
        raise LoadError(f"'{spec}' returned an object of type {what}, not a torch.nn.Module")
    return made


def _needed(factory: Any) -> list[str]:
    """Parameters without a default; none where Python cannot tell, as for some built in C."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return []
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in optional]


def _raised(doing: str, error: BaseException) -> LoadError:
    """What the user's code raised, and the innermost line that is not of an installed package."""
    libraries = [sysconfig.get_path(key) for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    installed = (*libraries, __file__, "<frozen")
    frames = [(f.filename, f.lineno) for f in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno))
    own = [frame for frame in frames if not frame[0].startswith(installed)] or frames
    where = f" at {PurePath(own[-1][0]).name}:{own[-1][1]}" if own else ""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return LoadError(f"{doing} raised {type(error).__name__}{where}: {text}")


def _hint(name: str, known: Sequence[str]) -> str:
    """The nearest names; all of them only where they are few."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return nearest(name, known) if known and (close or len(known) <= _SHOWN) else ""
