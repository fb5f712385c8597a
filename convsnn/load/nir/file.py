"""Opens a .nir file (HDF5) safely: plain groups and arrays of the file itself, and nothing else.

Links to other files, virtual and externally stored arrays and groups inside one another without
end are refused, and what the file declares is bounded before it is read.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from convsnn.errors import LoadError, MissingExtraError

MAGIC = b"\x89HDF\r\n\x1a\n"
DEEPEST = 16
LARGEST = 1 << 32  # bytes of all arrays together
_AGAIN = "write the network to NIR again, and copy the file completely"


def is_nir(path: str | Path) -> bool:
    """Whether `path` is called .nir, or begins as HDF5 does."""
    if Path(path).suffix == ".nir":
        return True
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except (OSError, ValueError):
        return False


def refuse_nir(text: str) -> None:
    """Raise LoadError where `text` names a NIR file: it is run as it is, not converted."""
    if len(text) < 4096 and is_nir(text):
        raise LoadError(
            f"'{text}' is a NIR file, which holds neurons already",
            hint="run and score it with convsnn convert, then use the result",
        )


def read_fields(path: Path) -> tuple[str, dict[str, Any]]:
    """The version of NIR that the file names and the fields of its graph: arrays, texts and
    dictionaries by name. LoadError where it is missing, damaged or no NIR."""
    if not os.path.isfile(path):
        what = "is no plain file" if os.path.exists(path) else "does not exist"
        raise LoadError(f"'{path}' {what}", hint="check the path")
    try:
        import h5py  # comes with nir, an extra
    except ImportError:
        raise MissingExtraError("nir, which .nir files need,", "nir") from None
    try:
        with h5py.File(path, "r") as file:
            if "node" not in file or not isinstance(file["node"], h5py.Group):
                raise LoadError(
                    f"'{path}' is HDF5, but holds no NIR graph (it has no group 'node')"
                )
            reader = _Reader(h5py, path)
            version = reader.group(file, "", 0, only=("version",)).get("version", "unknown")
            return str(version), reader.group(file["node"], "node", 0)
    except LoadError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        first = str(error).partition("\n")[0]
        raise LoadError(f"'{path}' is no whole HDF5 file: {first}", hint=_AGAIN) from None


class _Reader:
    def __init__(self, h5py: Any, path: Path) -> None:
        self.h5py, self.path, self.bytes = h5py, path, 0

    def group(
        self, group: Any, where: str, depth: int, only: tuple[str, ...] | None = None
    ) -> dict[str, Any]:
        """The members of a group; of `only` those where it is given."""
        if depth > DEEPEST:
            raise LoadError(f"'{self.path}': '{where}' is nested too deep", hint=_AGAIN)
        found: dict[str, Any] = {}
        for key in group:
            if only is not None and key not in only:
                continue
            place = f"{where}/{key}"
            if not isinstance(group.get(key, getlink=True), self.h5py.HardLink):
                raise LoadError(
                    f"'{self.path}': '{place}' is a link, which is not followed",
                    hint="write the network into one file without links",
                )
            item = group[key]
            is_group = isinstance(item, self.h5py.Group)
            found[str(key)] = (
                self.group(item, place, depth + 1) if is_group else self.array(item, place)
            )
        return found

    def array(self, item: Any, where: str) -> Any:
        """An array, or a text."""
        if not isinstance(item, self.h5py.Dataset) or item.shape is None:
            raise LoadError(f"'{self.path}': '{where}' holds no value", hint=_AGAIN)
        if item.is_virtual or item.external:
            raise LoadError(
                f"'{self.path}': '{where}' is kept in another file, which is not read",
                hint="write the network into one file",
            )
        self.bytes += int(item.nbytes)
        if self.bytes > LARGEST:
            raise LoadError(f"'{self.path}': the arrays take more than {LARGEST:,} bytes")
        value = item[()]
        if isinstance(value, bytes):
            return value.decode("utf8")
        if isinstance(value, np.ndarray) and value.dtype.kind in "OS":
            return _texts(value, f"'{self.path}': '{where}'")
        return value


def _texts(value: Any, where: str) -> Any:
    """An array of texts as nested lists."""
    flat = [one.decode("utf8") if isinstance(one, bytes) else one for one in value.reshape(-1)]
    if not all(isinstance(one, str) for one in flat):
        raise LoadError(f"{where} holds neither numbers nor texts", hint=_AGAIN)
    return np.array(flat, dtype=object).reshape(value.shape).tolist()
