"""Your own arrays: `npz:TRAIN.npz,TEST.npz` of images, `frames:TRAIN.npz,TEST.npz` of sequences.

Each file holds `x` and, where known, `y`: class numbers (N,), numbers of the outputs' shape,
masks (N, H, W) of class numbers, or 0 and 1 for each label (N, K). Nothing is unpickled; `x`
is held as stored, which for images is one byte per value.
"""

from functools import partial

from convsnn.errors import LoadError
from zoo.data.archive import read_arrays
from zoo.data.base import DATASETS, Array, Stored, in_memory
from zoo.data.places import local_path, two_places
from zoo.data.targets import are_class_numbers


@DATASETS.register("npz")
def npz(place: str) -> tuple[Stored, Stored]:
    """Two .npz files: `x` uint8 (N, H, W, C) or float (N, C, H, W), optional `y`."""
    return _open(place, what="npz")


@DATASETS.register("frames")
def frames(place: str) -> tuple[Stored, Stored]:
    """Two .npz files of sequences: `x` uint8, bool or float (N, T, C, H, W), a frame a time step
    with a channel a polarity; optional `y`."""
    return _open(place, what="frames")


def _open(place: str, *, what: str) -> tuple[Stored, Stored]:
    paths = two_places(place, what=what)
    arrays = [_read(path, what=what) for path in paths]
    (train_x, _), (test_x, _) = arrays
    if train_x.shape[1:] != test_x.shape[1:] or train_x.dtype.kind != test_x.dtype.kind:
        raise LoadError(
            f"{what}: {paths[0]} holds samples of {train_x.dtype} {train_x.shape[1:]}, {paths[1]} "
            f"of {test_x.dtype} {test_x.shape[1:]}",
            hint="both files must hold the same kind of samples",
        )
    known = [int(y.max()) for _, y in arrays if y is not None and y.size and are_class_numbers(y)]
    made = partial(in_memory, classes=max(known) + 1 if known else None, sequences=what == "frames")
    train, test = (
        made(x, y, source=f"{what}:{path}", split=split)
        for (x, y), path, split in zip(arrays, paths, ("train", "test"), strict=True)
    )
    return train, test


def _read(place: str, *, what: str) -> tuple[Array, Array | None]:
    path = local_path(place, what=what, hint=f"write {what}:TRAIN.npz,TEST.npz")
    held = read_arrays(path, ["x"], optional=["y"])
    return held["x"], held.get("y")
