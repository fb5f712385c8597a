"""DVS128 Gesture: long recordings in which a table says when each gesture begins and ends.

    ROOT/trials_to_train.txt, trials_to_test.txt    names of the recordings of each split
    ROOT/user01_fluorescent.aedat                   a recording, version 3.1
    ROOT/user01_fluorescent_labels.csv              class from 1 to 11, start and end in us

Of most recordings every class holds one gesture, of the last class one or more (Amir et al. 2017).
"""

import csv
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch

from convsnn.errors import LoadError
from zoo.data.base import DATASETS, Events, Recordings
from zoo.data.digest import of_files
from zoo.data.places import local_path, require_file
from zoo.data.recordings import read_recording

SENSOR, CLASSES = (128, 128), 11
_FORM = "write dvsgesture:ROOT with trials_to_train.txt, trials_to_test.txt and the .aedat files"
_KEPT = 2  # recordings held open, since their gestures are mostly asked for one after the other
Gesture = tuple[Path, int, int, int]  # recording, class from 0, first and last time


@DATASETS.register("dvsgesture")
def dvsgesture(place: str) -> tuple[Recordings, Recordings]:
    """DVS128 Gesture as published, unpacked: ROOT/user01_fluorescent.aedat and its labels."""
    root = local_path(place, what="dvsgesture", hint=_FORM)
    train, test = (_split(root, split, f"dvsgesture:{place}") for split in ("train", "test"))
    return train, test


def _split(root: Path, split: str, source: str) -> Recordings:
    listed = _lines(root / f"trials_to_{split}.txt")
    found = [gesture for name in listed for gesture in _gestures(root / name)]
    if not found:
        raise LoadError(f"{source}: there are no gestures for {split}", hint=_FORM)
    tables = [root / f"{Path(name).stem}_labels.csv" for name in listed]
    return Recordings(
        source, split, len(found), _reader(found), torch.tensor([g[1] for g in found]), CLASSES,
        SENSOR, contents=partial(of_files, root, [*(root / name for name in listed), *tables]),
    )  # fmt: skip


def _lines(path: Path) -> list[str]:
    require_file(path, hint=_FORM)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise LoadError(f"{path} cannot be read: {error}", hint=_FORM) from None
    names = [line.strip() for line in lines if line.strip()]
    for name in names:
        if Path(name).name != name:
            raise LoadError(f"{path} names '{name}', which is no file beside it", hint=_FORM)
    return names


def _gestures(recording: Path) -> list[Gesture]:
    """The gestures of one recording by its table."""
    table = recording.with_name(f"{recording.stem}_labels.csv")
    found = []
    for number, row in enumerate(csv.reader(_lines_of_table(table))):
        cells = [cell.strip() for cell in row]
        if number == 0 and not cells[0].isdigit():
            continue  # its heading
        try:
            label, start, end = (int(cell) for cell in cells[:3])
        except ValueError:
            raise LoadError(f"{table}, line {number + 1}: no class, start and end") from None
        if not 1 <= label <= CLASSES or not 0 <= start < end:
            raise LoadError(f"{table}, line {number + 1}: class {label} from {start} to {end}")
        found.append((recording, label - 1, start, end))
    if not found:
        raise LoadError(f"{table} labels no gestures", hint=_FORM)
    return found


def _lines_of_table(table: Path) -> list[str]:
    require_file(table, hint=f"the labels of a recording lie beside it; {_FORM}")
    try:
        return [line for line in table.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise LoadError(f"{table} cannot be read: {error}", hint=_FORM) from None


def _reader(gestures: Sequence[Gesture]) -> Callable[[int], Events]:
    opened = lru_cache(maxsize=_KEPT)(partial(read_recording, sensor=SENSOR))

    def read(number: int) -> Events:
        path, _, start, end = gestures[number]
        whole = opened(path)
        inside = slice(*np.searchsorted(whole.t, [start, end]))
        if inside.start == inside.stop:
            raise LoadError(
                f"{path} has no events from {start} to {end}, where its table names a gesture",
                hint="the recording is cut off, or the table belongs to another",
            )
        polarity = None if whole.p is None else whole.p[inside]
        return Events(whole.t[inside], whole.x[inside], whole.y[inside], polarity)

    return read
