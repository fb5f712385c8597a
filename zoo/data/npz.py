"""Your own arrays: `npz:TRAIN.npz,TEST.npz`, each with `x` and, where known, labels `y`.

Nothing is unpickled. Arrays of an .npz cannot be mapped from disk, so `x` is held as stored, which
for images is one byte per value.
"""

import numpy as np

from convsnn.errors import ConfigError, LoadError
from zoo.data.base import DATASETS, Array, Stored, in_memory, local_path

_FORM = "write npz:TRAIN.npz,TEST.npz"
_SAVE = "write the file with numpy.savez(path, x=..., y=...)"


@DATASETS.register("npz")
def npz(place: str) -> tuple[Stored, Stored]:
    """Two .npz files: `x` uint8 (N, H, W, C) or float (N, C, H, W), optional `y` integer labels."""
    paths = [p.strip() for p in place.split(",")]
    if len(paths) != 2 or not all(paths):
        raise ConfigError(f"npz: '{place}' does not name two files", hint=_FORM)
    arrays = [_read(path) for path in paths]
    (train_x, _), (test_x, _) = arrays
    if train_x.shape[1:] != test_x.shape[1:] or train_x.dtype.kind != test_x.dtype.kind:
        raise LoadError(
            f"npz: {paths[0]} holds samples of {train_x.dtype} {train_x.shape[1:]}, {paths[1]} of "
            f"{test_x.dtype} {test_x.shape[1:]}",
            hint="both files must hold the same kind of samples",
        )
    known = [int(y.max()) for _, y in arrays if y is not None and y.size and y.dtype.kind in "iu"]
    classes = max(known) + 1 if known else None
    train, test = (
        in_memory(x, y, source=f"npz:{path}", split=split, classes=classes)
        for (x, y), path, split in zip(arrays, paths, ("train", "test"), strict=True)
    )
    return train, test


def _read(place: str) -> tuple[Array, Array | None]:
    path = local_path(place, what="npz", hint=_FORM)
    try:
        archive = np.load(path, allow_pickle=False)
    except Exception as error:  # damaged and foreign files raise many kinds
        raise LoadError(f"{path} cannot be read as .npz: {error}", hint=_SAVE) from None
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise LoadError(f"{path} is no .npz file but a single array", hint=_SAVE)
    with archive:
        if "x" not in archive.files:
            held = ", ".join(archive.files) or "nothing"
            raise LoadError(f"{path} has no array 'x'; it holds: {held}", hint=_SAVE)
        x = _member(archive, "x", path=str(path))
        return x, _member(archive, "y", path=str(path)) if "y" in archive.files else None


def _member(archive: "np.lib.npyio.NpzFile", name: str, *, path: str) -> Array:
    try:
        found = archive[name]
    except Exception as error:  # zipfile, zlib and numpy's header reader raise many kinds
        raise LoadError(f"{path}: array '{name}' cannot be read: {error}", hint=_SAVE) from None
    if not isinstance(found, np.ndarray):
        raise LoadError(f"{path}: '{name}' is no array", hint=_SAVE)
    return found
