"""Where data lies: the part of `name:place` behind the colon, as paths that can be read."""

import os
import stat
from pathlib import Path

from convsnn.errors import ConfigError, LoadError


def split_spec(spec: str) -> tuple[str, str]:
    """`name:place` as both, the place empty where there is none."""
    name, _, place = (part.strip() for part in spec.partition(":"))
    return name, place


def two_places(place: str, *, what: str) -> list[str]:
    """The two paths of `TRAIN,TEST`; ConfigError where these are not two."""
    paths = [part.strip() for part in place.split(",")]
    if len(paths) != 2 or not all(paths):
        raise ConfigError(
            f"{what}: '{place}' does not name two files", hint=f"write {what}:TRAIN.npz,TEST.npz"
        )
    return paths


def local_path(place: str, *, what: str, hint: str) -> Path:
    """`place` as a path that exists, `~` expanded; LoadError with `hint` otherwise."""
    if not place:
        raise ConfigError(f"{what}: no path is given", hint=hint)
    try:
        path = Path(place).expanduser()
        present = path.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise LoadError(f"{what}: {place!r} cannot be used: {error}", hint=hint) from None
    if not present:
        raise LoadError(f"{what}: {place} does not exist", hint=hint)
    return path


def require_file(path: Path, *, hint: str) -> os.stat_result:
    """What is known of the plain file `path`; LoadError for a directory, a pipe or a device, of
    which one may hang and the other never end."""
    try:
        known = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LoadError(f"{path} cannot be read: {reason}", hint=hint) from None
    if not stat.S_ISREG(known.st_mode):
        kind = "directory" if stat.S_ISDIR(known.st_mode) else "pipe, socket or device"
        raise LoadError(f"{path} is no file but a {kind}", hint=hint)
    return known


def absolute(spec: str) -> str:
    """`spec` with absolute paths, so that it means the same in every directory.

    As it is where it names no path, or one that cannot be written as UTF-8.
    """
    name, place = split_spec(spec)
    if not place:
        return spec
    whole = _absolute(place)
    parts = [whole] if _exists(whole) else [_absolute(part.strip()) for part in place.split(",")]
    made = f"{name}:{','.join(parts)}"
    try:
        made.encode()
    except UnicodeEncodeError:
        return spec
    return made


def is_there(spec: str) -> bool:
    """Whether all that `spec` names exists; a data set without a place is always there."""
    _, place = split_spec(spec)
    return not place or _exists(place) or all(_exists(part.strip()) for part in place.split(","))


def _absolute(place: str) -> str:
    return os.path.abspath(os.path.expanduser(place))


def _exists(place: str) -> bool:
    try:
        return os.path.exists(os.path.expanduser(place))
    except ValueError:  # a NUL
        return False


def data_place(spec: str | None) -> dict[str, dict[str, str]]:
    """What an artifact says of where its data lies, so that it is found from other directories."""
    return {} if spec is None else {"data_place": {"given": spec, "absolute": absolute(spec)}}
