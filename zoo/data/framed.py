"""Frames of recordings kept on disk, so that they are made once: `CONVSNN_CACHE` names a directory.

A file holds all frames of one split for one way to make them, as safetensors: what it belongs to
and a digest of its bytes stand in its header. It is written beside its place and renamed when it is
whole, so a run that is killed leaves nothing that another would read. A file of another version or
of other data, one that is cut off or in which a bit has changed, is made again. Binary frames take
a bit a pixel.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from convsnn.errors import ConfigError
from zoo.data.binning import Binning, Plane
from zoo.data.digest import Array, of_texts
from zoo.data.room import require_room
from zoo.data.stored import Stored

VARIABLE = "CONVSNN_CACHE"
_VERSION, _KEY = 1, "convsnn-frames"
_CHUNK = 64  # recordings that are made at once
_DAMAGED = (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError)


def kept(stored: Stored, steps: int, binning: Binning, *, channels: int, plane: Plane) -> Stored:
    """`stored` with its frames read from the cache, where the environment names one.

    The cache is filled when the first sample is asked for. ConfigError where it takes no files.
    """
    place = os.environ.get(VARIABLE, "").strip()
    if not place:
        return stored
    folder = Path(place).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{VARIABLE} names '{place}', which takes no files: {error.strerror or error}",
            hint="name a directory that can be written, or unset it",
        ) from None
    belongs = of_texts(_VERSION, stored.digest(), steps, binning, channels, plane, np.little_endian)
    shape = (stored.count, steps, channels, *plane)
    return replace(stored, read=_Reader(folder / f"{belongs}.frames", belongs, shape, stored.read))


class _Reader:
    """Reads frames from the cache, which it fills first; see `Stored.read`."""

    def __init__(
        self,
        path: Path,
        belongs: str,
        shape: tuple[int, ...],
        make: Callable[[Sequence[int]], Iterator[Tensor]],
    ) -> None:
        self.path, self.belongs, self.shape, self.make = path, belongs, shape, make
        self.frames: Tensor | None = None
        self.packed = False

    def __call__(self, numbers: Sequence[int]) -> Iterator[Tensor]:
        if self.frames is None:
            found = _read(self.path, self.belongs)
            if found is None:
                _write(self.path, self._all(), self.belongs)
                found = _read(self.path, self.belongs)
            if found is None:  # the disk is full, or loses what is written
                return self.make(numbers)
            self.frames = found
        return (self._one(number) for number in numbers)

    def _one(self, number: int) -> Tensor:
        assert self.frames is not None  # as `__call__` has it
        row = self.frames[number]
        if row.dtype == torch.uint8:
            bits = np.unpackbits(row.numpy(), count=int(np.prod(self.shape[1:])))
            row = torch.from_numpy(bits)
        return row.reshape(1, *self.shape[1:])

    def _all(self) -> Iterator[Array]:
        count = self.shape[0]
        for start in range(0, count, _CHUNK):
            chunk = torch.cat(list(self.make(range(start, min(start + _CHUNK, count)))))
            values = chunk.flatten(1).numpy()
            yield np.packbits(values, axis=1) if values.dtype == np.uint8 else values


def _write(path: Path, chunks: Iterable[Array], belongs: str) -> None:
    """All chunks as one file; where the disk does not take it there is none."""
    rows = list(chunks)
    require_room(2 * sum(row.nbytes for row in rows), "the frames of all recordings")
    frames = torch.from_numpy(np.concatenate(rows))
    header = json.dumps({"belongs": belongs, "digest": _digest(frames)})
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(save({"frames": frames}, {_KEY: header}))
        os.replace(temporary, path)
    except OSError:
        return
    finally:
        with contextlib.suppress(OSError):  # most often: it was renamed
            temporary.unlink()


def _read(path: Path, belongs: str) -> Tensor | None:
    """The frames in `path`, or None where they are not there, not whole, or others."""
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_KEY])
            frames: Tensor = file.get_tensor("frames")
        whole = header["belongs"] == belongs and header["digest"] == _digest(frames)
    except _DAMAGED:
        return None
    return frames if whole else None


def _digest(frames: Tensor) -> str:
    return hashlib.blake2b(frames.numpy().data, digest_size=16).hexdigest()
