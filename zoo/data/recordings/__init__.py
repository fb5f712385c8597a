"""One recording of an event camera in a file, by the file's ending; see `read_recording`."""

from zoo.data.recordings.atis import dat_ends
from zoo.data.recordings.reading import SUFFIXES, read_part, read_recording

__all__ = ["SUFFIXES", "dat_ends", "read_part", "read_recording"]
