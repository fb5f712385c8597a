"""Files and folders of images, each brought to what the network takes when it is its turn.

Image files are read in colour or in grey as they are stored; where the network takes the other,
in that. An .npy file, or the array `x` of an .npz file, is one sample or several, as
`npz:TRAIN.npz,TEST.npz` stores them.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from convsnn.errors import ConfigError, ConvsnnError, LoadError
from zoo.data import Preprocessing
from zoo.data.archive import read_arrays
from zoo.data.base import Array, Stored, in_memory
from zoo.data.picture import SUFFIXES, decode, is_gray, pixels
from zoo.data.prepare import prepare

_ARRAYS = (".npy", ".npz")
_SCALE = 255.0  # of 8-bit image files
_HOLDS = f"images are {', '.join(SUFFIXES)}, .npy and .npz files"


@dataclass(frozen=True)
class Sample:
    """One image: its name for people, and how it is read, (1, *input shape)."""

    name: str
    read: Callable[[], Tensor]


@dataclass(frozen=True)
class Pictures:
    """All images of some `places`, for a network of input `shape`.

    `arrays` are opened at once, image files when they are read, so that memory stays flat. `grayed`
    are the files whose colours were left out so far.
    """

    shape: tuple[int, ...]
    settings: Preprocessing
    grayed: list[str] = field(default_factory=list)

    def samples(self, places: Iterable[str | Path]) -> list[Sample]:
        """The images of files and folders, in the order given, those of a folder by name.

        Raises LoadError for what does not exist, is no plain file, or a folder without images, and
        what arrays are refused with.
        """
        return [
            sample for place in places for path in _files(Path(place)) for sample in self._in(path)
        ]

    def _in(self, path: Path) -> Iterator[Sample]:
        if path.suffix.lower() not in _ARRAYS:
            yield Sample(str(path), lambda: self._picture(path))
            return
        stored = self._fitting(_array(path), path)
        for number in range(stored.count):
            name = str(path) if stored.count == 1 else f"{path}[{number}]"
            yield Sample(name, lambda row=number: self._row(stored, row))  # type: ignore[misc]

    def _row(self, stored: Stored, number: int) -> Tensor:
        try:
            return self._prepared(torch.cat(list(stored.read([number]))), stored.scale)
        except ConfigError as error:
            where = stored.source if stored.count == 1 else f"{stored.source}[{number}]"
            raise ConfigError(f"{where}: {error}", hint=error.hint) from None

    def _fitting(self, array: Array, path: Path) -> Stored:
        """The array as samples of the network: as one, or else as several."""
        wrong: list[ConvsnnError] = []
        for form in (array[None], array):
            try:
                stored = in_memory(form, None, source=str(path), split="given")
                self._row(stored, 0)
            except (ConfigError, LoadError) as error:
                wrong.append(error)
            else:
                return stored
        raise wrong[array.ndim > len(self.shape)]

    def _picture(self, path: Path) -> Tensor:
        image = decode(path)
        gray = is_gray(image)
        wrong: list[ConfigError] = []
        for way in (gray, not gray):
            try:
                ready = self._prepared(pixels(image, gray=way), _SCALE)
            except ConfigError as error:
                wrong.append(error)
                continue
            if way and not gray:
                self.grayed.append(str(path))
            return ready
        # of the two ways the one that fails by its size alone tells more than its colours
        best = next((e for e in wrong if "--resize" in e.hint), wrong[0])
        raise ConfigError(f"{path}: {best}", hint=best.hint)

    def _prepared(self, raw: Tensor, scale: float) -> Tensor:
        return prepare(raw, scale=scale, settings=self.settings, input_shape=self.shape)


def are_files(images: object) -> bool:
    """Whether images are given as places of files, not as values."""
    if isinstance(images, list | tuple):
        return bool(images) and all(isinstance(place, str | Path) for place in images)
    return isinstance(images, str | Path)


def as_places(images: str | Path | Sequence[str | Path]) -> list[str | Path]:
    """One place or several as a list."""
    return [images] if isinstance(images, str | Path) else list(images)


def in_batches(samples: Sequence[Sample], size: int) -> Iterator[tuple[Tensor, None]]:
    """Batches (B, *input shape) of so many images, and no labels."""
    for start in range(0, len(samples), size):
        yield torch.cat([sample.read() for sample in samples[start : start + size]]), None


def _files(place: Path) -> list[Path]:
    if place.is_dir():
        found = sorted(_inside(place))
        if not found:
            raise LoadError(f"the folder '{place}' holds no images", hint=_HOLDS)
        return found
    if not place.is_file():
        what = "is no plain file" if place.exists() else "does not exist"
        raise LoadError(f"the image '{place}' {what}", hint="name files, or a folder of images")
    return [place]


def _inside(folder: Path) -> Iterator[Path]:
    """The image files of a folder and of those in it; what is hidden is passed over, and links to
    folders are not followed."""

    def refuse(error: OSError) -> None:
        raise LoadError(f"the folder '{error.filename}' cannot be read: {error.strerror}") from None

    for at, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(at, name)
            known = path.suffix.lower() in (*SUFFIXES, *_ARRAYS)
            if known and not name.startswith(".") and path.is_file():
                yield path


def _array(path: Path) -> Array:
    if path.suffix.lower() == ".npz":
        return read_arrays(path, ["x"])["x"]
    try:
        found = np.load(path, allow_pickle=False)
    except MemoryError:
        raise  # nothing is wrong with the file
    except Exception:  # of many kinds; numpy's texts tell of pickle, which is never the way out
        raise LoadError(
            f"{path} is damaged, or no .npy file of numbers",
            hint="write the file with numpy.save(path, x)",
        ) from None
    if not isinstance(found, np.ndarray):
        raise LoadError(f"{path} is an .npz file by what it holds", hint="rename it to .npz")
    return found
