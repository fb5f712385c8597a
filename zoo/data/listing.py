"""Files in one folder per class, listed: every folder once, and nothing but plain files.

Links may lead out of the data, as to images that lie elsewhere, but not back into it: what is
reached twice would be counted twice, and under the wrong class where the link crosses classes.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from convsnn.errors import LoadError

SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp",
)  # fmt: skip


@dataclass(frozen=True)
class Listing:
    """The files of one split by class; `numbers` are those of the classes."""

    root: Path
    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    numbers: tuple[int, ...]


def list_images(root: Path, *, hint: str) -> Listing:
    """All images below `root`; see `list_files`."""
    return list_files(root, SUFFIXES, what="images", hint=hint)


def list_files(root: Path, suffixes: Sequence[str], *, what: str, hint: str) -> Listing:
    """All files below `root` with one of these endings by class, in the order of their names;
    hidden ones are left out.

    LoadError where there are none, for a class without any, a link that leads back, or what has
    such an ending and is no plain file. `what` the files are is for messages.
    """
    walk = _Walk(root, tuple(suffixes), what, hint)
    try:
        classes = [entry.name for entry in _entries(root) if entry.is_dir()]
        found = {name: list(walk.files(root / name)) for name in classes}
    except OSError as error:
        reason = error.strerror or error
        raise LoadError(f"{root} holds no {what} by class: {reason}", hint=hint) from None
    if not classes:
        raise LoadError(f"{root} holds no {what} by class: it has no folders", hint=hint)
    empty = [name for name, paths in found.items() if not paths]
    if empty:
        raise LoadError(
            f"{root} holds no {what} of {', '.join(empty[:5])} ({', '.join(suffixes)})", hint=hint
        )
    paths = tuple(path for name in classes for path in found[name])
    numbers = tuple(number for number, name in enumerate(classes) for _ in found[name])
    return Listing(root, tuple(classes), paths, numbers)


@dataclass
class _Walk:
    """One pass over a split; `seen` are the folders that were read, by what they really are."""

    root: Path
    suffixes: tuple[str, ...]
    what: str
    hint: str
    seen: set[tuple[int, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        real = Path(os.path.realpath(self.root))
        self.above = {_identity(folder) for folder in (real, *real.parents) if folder.exists()}

    def files(self, folder: Path) -> Iterator[Path]:
        """The files of one folder, then those of the folders in it."""
        who = _identity(folder)
        if who in self.seen | self.above:
            raise LoadError(
                f"{folder} leads back into the data (to {os.path.realpath(folder)}), whose "
                f"{self.what} would be counted twice, or under the wrong class",
                hint="remove that link",
            )
        self.seen.add(who)
        entries = _entries(folder)
        for entry in entries:
            if entry.name.lower().endswith(self.suffixes) and not entry.is_dir():
                plain = entry.is_file(follow_symlinks=False)  # known without a look at the file
                yield Path(entry.path) if plain else self._plain(Path(entry.path))
        for entry in entries:
            if entry.is_dir():
                yield from self.files(Path(entry.path))

    def _plain(self, path: Path) -> Path:
        try:
            plain = stat.S_ISREG(path.stat().st_mode)
        except OSError as error:
            raise LoadError(
                f"{path} cannot be read: {error.strerror or error}", hint="remove or repair it"
            ) from None
        if not plain:
            raise LoadError(
                f"{path} is named as one of the {self.what}, but is a pipe, socket or device",
                hint="remove it",
            )
        return path


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as found:
        return sorted((e for e in found if not e.name.startswith(".")), key=lambda e: e.name)


def _identity(folder: Path) -> tuple[int, int]:
    known = folder.stat()
    return known.st_dev, known.st_ino
