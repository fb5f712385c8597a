"""Which reader a recording's file belongs to, and what every recording has to be.

.npz       arrays t, x, y and p, each (n,)
.bin       five bytes an event, as N-MNIST and N-Caltech101 have them
.dat       eight bytes an event behind lines with %, as N-Cars has them
.aedat     jAER's versions 2 and 3.1, as DVS-CIFAR10 and DVS128 Gesture have them
.aedat4    DV's; needs aedat
.h5 .hdf5  data sets t, x, y and p, alone or in a group `events`; needs h5py
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from convsnn.errors import LoadError
from zoo.data.binning import Events, Plane
from zoo.data.places import require_file
from zoo.data.recordings.aedat import read_aedat
from zoo.data.recordings.aedat4 import read_aedat4
from zoo.data.recordings.arrays import read_h5, read_npz
from zoo.data.recordings.atis import read_bin, read_dat, read_dat_part
from zoo.data.room import require_room
from zoo.data.sensor import SPAN

_READERS: dict[str, Callable[[Path], Events]] = {
    ".npz": read_npz,
    ".bin": read_bin,
    ".dat": read_dat,
    ".aedat": read_aedat,
    ".aedat4": read_aedat4,
    ".h5": read_h5,
    ".hdf5": read_h5,
}
SUFFIXES = tuple(_READERS)
_EXPANDED = 8  # bytes in memory for one in the file, as all values become int64


def read_recording(path: Path, *, sensor: Plane | None = None) -> Events:
    """The events of a file in the order of their times.

    LoadError for a file that is cut off or no such file, for one without events, and for events
    outside of `sensor` (None: of none) or at negative places.
    """
    known = require_file(path, hint=f"give one recording a file ({', '.join(SUFFIXES)})")
    require_room(_EXPANDED * known.st_size, str(path))
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise LoadError(
            f"{path} is no recording that can be read", hint=f"known are {', '.join(SUFFIXES)}"
        )
    try:
        events = reader(path)
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror or error}") from None
    return _checked(events, path, sensor)


def read_part(path: Path, first: int, last: int, *, sensor: Plane) -> Events:
    """The events of a .dat file from the time `first` on, before `last`, of which there may be
    none; LoadError as `read_recording` raises it, and where times do not rise."""
    try:
        events = read_dat_part(path, first, last)
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror or error}") from None
    return _checked(events, path, sensor) if len(events.t) else events


def _checked(events: Events, path: Path, sensor: Plane | None) -> Events:
    if not len(events.t):
        raise LoadError(f"{path} holds no events", hint="leave empty recordings out")
    lowest = min(int(events.x.min()), int(events.y.min()))
    last = int(events.y.max()), int(events.x.max())
    if lowest < 0 or (sensor is not None and (last[0] >= sensor[0] or last[1] >= sensor[1])):
        size = "" if sensor is None else f" of {sensor[0]}x{sensor[1]}"
        raise LoadError(
            f"{path} holds events outside of the sensor{size}: rows up to {last[0]}, columns up to "
            f"{last[1]}, from {lowest}",
            hint="give recordings of one sensor, and leave out what lies outside",
        )
    if int(events.t.max()) - int(events.t.min()) >= SPAN:
        raise LoadError(f"{path}: its times run over more than a clock can")
    if (np.diff(events.t) >= 0).all():
        return events
    order = np.argsort(events.t, kind="stable")
    polarity = None if events.p is None else events.p[order]
    return Events(events.t[order], events.x[order], events.y[order], polarity)
