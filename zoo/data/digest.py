"""What a split holds as a short text: equal data gives the same one, any change another.

Results that lie on disk are gone on with only where this is equal. Arrays are read whole. Files
are read whole as well while they are less than `READ` together; of more of them the names, sizes
and times of change stand for what is in them.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from convsnn.errors import LoadError

Array = np.ndarray[Any, Any]

READ = 1 << 30  # bytes, about two seconds
_LENGTH = 16


def of_texts(*texts: object) -> str:
    """A digest of digests and other short things."""
    return hashlib.blake2b(repr(texts).encode(), digest_size=_LENGTH).hexdigest()


def of_arrays(arrays: Iterable[Array | Tensor | None]) -> str:
    """A digest of types, shapes and every value."""
    found = hashlib.blake2b(digest_size=_LENGTH)
    for array in arrays:
        plain = None if array is None else np.ascontiguousarray(array)
        if plain is None:
            found.update(b"none;")
            continue
        found.update(f"{plain.dtype.str} {plain.shape};".encode())
        found.update(plain.reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def of_files(root: Path, files: Sequence[Path]) -> str:
    """A digest of the files' places below `root` and of what is in them."""
    found = hashlib.blake2b(digest_size=_LENGTH)
    try:
        known = [path.stat() for path in files]
        whole = sum(one.st_size for one in known) <= READ
        for path, one in zip(files, known, strict=True):
            place = path.relative_to(root).as_posix().encode("utf-8", "surrogateescape")
            found.update(place + f"\0{one.st_size};".encode())
            found.update(path.read_bytes() if whole else f"{one.st_mtime_ns};".encode())
    except OSError as error:
        raise LoadError(
            f"'{error.filename}' cannot be read: {error.strerror or error}",
            hint="leave the data as it is while a command runs",
        ) from None
    return found.hexdigest()
