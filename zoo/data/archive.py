"""Arrays of .npz files, read without unpickling anything.

Arrays of an .npz cannot be mapped from disk, so they are held as stored.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from convsnn.errors import ConfigError, LoadError
from zoo.data.stored import Array

_SAVE = "write the file with numpy.savez(path, {0})"


def two_places(place: str, *, what: str) -> list[str]:
    """The two paths of `TRAIN,TEST`; ConfigError where these are not two."""
    paths = [part.strip() for part in place.split(",")]
    if len(paths) != 2 or not all(paths):
        raise ConfigError(
            f"{what}: '{place}' does not name two files", hint=f"write {what}:TRAIN.npz,TEST.npz"
        )
    return paths


def read_arrays(
    path: Path, needed: Sequence[str], *, optional: Sequence[str] = ()
) -> dict[str, Array]:
    """The arrays of these names, those of `optional` where there are any.

    LoadError for a file that is no .npz, is damaged or lacks a needed array.
    """
    save = _SAVE.format(", ".join(f"{name}=..." for name in (*needed, *optional)))
    try:
        archive = np.load(path, allow_pickle=False)
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror or error}", hint=save) from None
    except Exception:  # of many kinds; numpy's texts tell of pickle, which is never the way out
        raise LoadError(f"{path} is damaged, or no .npz file", hint=save) from None
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise LoadError(f"{path} is no .npz file but a single array", hint=save)
    with archive:
        for name in needed:
            if name not in archive.files:
                held = ", ".join(archive.files) or "nothing"
                raise LoadError(f"{path} has no array '{name}'; it holds: {held}", hint=save)
        wanted = [*needed, *(name for name in optional if name in archive.files)]
        return {name: _member(archive, name, path=str(path), hint=save) for name in wanted}


def _member(archive: "np.lib.npyio.NpzFile", name: str, *, path: str, hint: str) -> Array:
    try:
        found = archive[name]
    except MemoryError:
        raise  # nothing is wrong with the file
    except Exception as error:  # zipfile, zlib and numpy's header reader raise many kinds
        if "allow_pickle" in str(error):
            held = f"{path}: array '{name}' holds Python objects, not numbers"
            raise LoadError(held, hint=hint) from None
        raise LoadError(f"{path} is damaged: array '{name}': {error}", hint=hint) from None
    if not isinstance(found, np.ndarray):
        raise LoadError(f"{path}: '{name}' is no array", hint=hint)
    return found
