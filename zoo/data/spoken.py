"""The Spiking Heidelberg Digits: spoken digits as spikes of 700 channels of a model of the ear.

    ROOT/shd_train.h5, ROOT/shd_test.h5    spikes/times in s, spikes/units from 0 to 699, labels

(Cramer et al. 2020). Channels stand in one row, so frames are 1 x 700, of one polarity.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from convsnn.errors import LoadError, MissingExtraError
from zoo.data.base import DATASETS, Array, Events, Recordings, checked_labels
from zoo.data.digest import of_files
from zoo.data.places import local_path, require_file

CHANNELS, CLASSES = 700, 20
_FORM = "write shd:ROOT with shd_train.h5 and shd_test.h5, unpacked"
_DAMAGED = (OSError, RuntimeError, ValueError, KeyError, TypeError)


@DATASETS.register("shd")
def shd(place: str) -> tuple[Recordings, Recordings]:
    """Spiking Heidelberg Digits as published, unpacked: ROOT/shd_train.h5, ROOT/shd_test.h5."""
    root = local_path(place, what="shd", hint=_FORM)
    train, test = (
        _split(root / f"shd_{split}.h5", split, f"shd:{place}") for split in ("train", "test")
    )
    return train, test


def _split(path: Path, split: str, source: str) -> Recordings:
    require_file(path, hint=_FORM)
    h5py = _h5py()
    try:
        with h5py.File(path, "r") as file:
            labels = np.asarray(file["labels"][()])
            spikes = file["spikes"]
            times, units = len(spikes["times"]), len(spikes["units"])
    except _DAMAGED as error:
        first = str(error).partition("\n")[0]
        raise LoadError(f"{path} is damaged, or no file of SHD: {first}", hint=_FORM) from None
    if not len(labels) == times == units:
        raise LoadError(
            f"{path}: {times} lists of times, {units} of channels, {len(labels)} labels", hint=_FORM
        )
    known = checked_labels(labels, times, source)
    if int(known.max()) >= CLASSES:
        raise LoadError(f"{path}: a label is {int(known.max())}, of {CLASSES} classes", hint=_FORM)
    return Recordings(
        source, split, times, lambda number: _one(path, number), torch.as_tensor(known), CLASSES,
        (1, CHANNELS), contents=partial(of_files, path.parent, [path]),
    )  # fmt: skip


def _one(path: Path, number: int) -> Events:
    h5py = _h5py()
    try:
        with h5py.File(path, "r") as file:
            times = np.asarray(file["spikes"]["times"][number])
            units = np.asarray(file["spikes"]["units"][number])
    except _DAMAGED as error:
        first = str(error).partition("\n")[0]
        raise LoadError(f"{path}: recording {number} is damaged: {first}", hint=_FORM) from None
    return _events(times, units, f"{path}: recording {number}")


def _events(times: Array, units: Array, what: str) -> Events:
    if times.shape != units.shape or times.ndim != 1 or not len(times):
        raise LoadError(f"{what} has {times.shape} times and {units.shape} channels", hint=_FORM)
    channels = units.astype(np.int64)
    if not np.isfinite(times).all() or channels.min() < 0 or channels.max() >= CHANNELS:
        raise LoadError(
            f"{what} has times up to {times.max()} s and channels up to {channels.max()}",
            hint=_FORM,
        )
    clock = np.round(times.astype(np.float64) * 1e6).astype(np.int64)
    return Events(clock, channels, np.zeros_like(channels), None)


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise MissingExtraError("h5py", "events") from None
    return h5py
