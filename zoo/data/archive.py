"""Arrays of .npz files, read without unpickling anything.

Arrays of an .npz cannot be mapped from disk, so they are held as stored. What each declares is
looked at first: the number of its bytes has to be that of the file, and to fit into memory.
"""

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from convsnn.errors import LoadError
from zoo.data.digest import Array
from zoo.data.places import require_file
from zoo.data.room import require_room

_SAVE = "write the file with numpy.savez(path, {0})"
_ARRAY = b"\x93NUMPY"  # what a single array begins with


def read_arrays(
    path: Path, needed: Sequence[str], *, optional: Sequence[str] = ()
) -> dict[str, Array]:
    """The arrays of these names, those of `optional` where there are any.

    LoadError for a file that is no .npz, is damaged, lacks a needed array, or declares more than
    it holds or than memory can.
    """
    save = _SAVE.format(", ".join(f"{name}=..." for name in (*needed, *optional)))
    require_file(path, hint=save)
    try:
        with path.open("rb") as file:
            if file.read(len(_ARRAY)) == _ARRAY:
                raise LoadError(f"{path} is no .npz file but a single array", hint=save)
        archive = zipfile.ZipFile(path)
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror or error}", hint=save) from None
    except (zipfile.BadZipFile, ValueError, NotImplementedError, LookupError):
        raise LoadError(f"{path} is damaged, or no .npz file", hint=save) from None
    with archive:
        held = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        for name in needed:
            if name not in held:
                names = ", ".join(held[:20]) or "nothing"
                raise LoadError(f"{path} has no array '{name}'; it holds: {names}", hint=save)
        wanted = [*needed, *(name for name in optional if name in held)]
        sizes = [_declared(archive, name, path=path, hint=save) for name in wanted]
        require_room(sum(sizes), str(path))
        return {name: _member(archive, name, path=path, hint=save) for name in wanted}


def _declared(archive: zipfile.ZipFile, name: str, *, path: Path, hint: str) -> int:
    """The bytes that an array takes; LoadError where the file does not hold so many."""
    about = f"{path} is damaged: array '{name}'"
    try:
        with archive.open(f"{name}.npy") as member:
            version = np.lib.format.read_magic(member)
            read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
                version, np.lib.format.read_array_header_2_0
            )
            shape, _, kind = read(member)
            start = member.tell()
        stored = archive.getinfo(f"{name}.npy").file_size
    except MemoryError:
        raise  # nothing is wrong with the file
    except Exception as error:  # zipfile, zlib and numpy's header reader raise many kinds
        raise LoadError(f"{about}: {_reason(error)}", hint=hint) from None
    if kind.hasobject:
        raise LoadError(f"{path}: array '{name}' holds Python objects, not numbers", hint=hint)
    if any(not isinstance(size, int) or size < 0 for size in shape):
        raise LoadError(f"{about}: its shape is {shape}", hint=hint)
    size = math.prod(shape) * kind.itemsize
    if stored != start + size:
        raise LoadError(
            f"{about}: it declares {size} bytes, shape {shape}, and has {stored - start}", hint=hint
        )
    return size


def _member(archive: zipfile.ZipFile, name: str, *, path: Path, hint: str) -> Array:
    try:
        with archive.open(f"{name}.npy") as member:
            found: Array = np.lib.format.read_array(member, allow_pickle=False)
            member.read(1)  # so that the checksum is looked at
    except MemoryError:
        raise  # nothing is wrong with the file
    except Exception as error:  # zipfile, zlib and numpy's header reader raise many kinds
        reason = _reason(error)
        raise LoadError(f"{path} is damaged: array '{name}': {reason}", hint=hint) from None
    return found


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0][:200] or type(error).__name__
