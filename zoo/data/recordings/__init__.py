"""One recording of an event camera in a file, by the file's ending; see `read_recording`."""

from zoo.data.recordings.reading import SUFFIXES, read_recording

__all__ = ["SUFFIXES", "read_recording"]
