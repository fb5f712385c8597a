"""Recordings as four arrays t, x, y and p, each (n,): `.npz` and `.h5`."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from convsnn.errors import LoadError, MissingExtraError
from zoo.data.archive import read_arrays
from zoo.data.binning import Events
from zoo.data.digest import Array

_NAMES = ("t", "x", "y")
_FORM = "a recording is t, x, y and p, each (n,) of whole numbers, t in microseconds"
_LARGEST = 1 << 26  # events of one recording


def read_npz(path: Path) -> Events:
    """See `read_recording`."""
    return _events(read_arrays(path, [*_NAMES], optional=["p"]), path)


def read_h5(path: Path) -> Events:
    """See `read_recording`; MissingExtraError without h5py."""
    try:
        import h5py
    except ImportError:
        raise MissingExtraError("h5py", "events") from None
    try:
        with h5py.File(path, "r") as file:
            group = file.get("events", file)
            if not isinstance(group, h5py.Group):
                raise LoadError(f"{path}: 'events' is no group", hint=_FORM)
            held = {}
            for name in (*_NAMES, "p"):
                found = group.get(name)
                if isinstance(found, h5py.Dataset) and found.size <= _LARGEST:
                    held[name] = np.asarray(found[()])
    except LoadError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        first = str(error).partition("\n")[0]
        raise LoadError(f"{path} is damaged, or no HDF5 file: {first}") from None
    return _events(held, path)


def _events(held: Mapping[str, Array], path: Path) -> Events:
    missing = [name for name in _NAMES if name not in held]
    if missing:
        raise LoadError(f"{path} has no {', '.join(missing)}", hint=_FORM)
    shapes = {array.shape for array in held.values()}
    if len(shapes) > 1 or any(a.ndim != 1 or a.dtype.kind not in "iub" for a in held.values()):
        described = ", ".join(f"{n} {a.dtype} {a.shape}" for n, a in held.items())
        raise LoadError(f"{path} holds {described}", hint=_FORM)
    for name in _NAMES:
        if held[name].dtype.kind == "u" and len(held[name]) and int(held[name].max()) >> 62:
            raise LoadError(f"{path}: {name} reaches {int(held[name].max())}", hint=_FORM)
    t, x, y = (held[name].astype(np.int64) for name in _NAMES)
    polarity = held.get("p")
    return Events(t, x, y, None if polarity is None else (polarity > 0).astype(np.int64))
