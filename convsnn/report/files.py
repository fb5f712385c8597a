"""Writing results so that nothing is ever half there: a temporary name first, then a rename."""

import contextlib
import errno
import json
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from convsnn.errors import ConfigError, ExportError


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f".convsnn-{secrets.token_hex(6)}{suffix}")


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, all of it or nothing; ExportError where it cannot be."""

    def writer(temporary: Path) -> None:
        try:
            temporary.write_text(text, encoding="utf-8", newline="\n")
        except UnicodeEncodeError as error:
            raise ExportError(f"cannot write '{path}': the text is not Unicode: {error}") from None

    write_bytes_via(path, writer)


def write_bytes_via(path: Path, writer: Callable[[Path], None]) -> None:
    """Let `writer` fill a temporary file beside `path` with its suffix, then rename it to `path`.

    Whatever goes wrong, `path` is as before and the temporary file is gone. An OSError becomes an
    ExportError that names `path`; other errors of `writer` pass through.
    """
    path = Path(path)
    if os.path.exists(path) and not path.is_file():
        raise ExportError(f"cannot write '{path}': it exists and is not a plain file")
    temporary = _beside(path, path.suffix)
    try:
        writer(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise ExportError(f"cannot write '{path}': {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):  # most often: it was renamed or never came to be
            temporary.unlink()


def require_writable(folder: Path) -> None:
    """Raise ExportError where `folder`, or what is there of its path, takes no files; touches
    nothing."""
    whole = Path(os.path.abspath(folder))
    there = next(place for place in (whole, *whole.parents) if os.path.exists(place))
    if not there.is_dir():
        raise unwritable(folder, OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)))
    if not os.access(there, os.W_OK | os.X_OK):
        raise unwritable(folder, OSError(errno.EACCES, os.strerror(errno.EACCES)))


def unwritable(folder: Path, error: OSError) -> ExportError:
    """The error of a result directory that cannot be made or filled."""
    return ExportError(
        f"cannot write the directory '{folder}': {error.strerror or error}",
        hint="name a directory that does not exist yet, on a disk that can be written",
    )


def make_folder(folder: Path) -> Path:
    """`folder`, made where it is not there yet; ExportError where it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    return folder


class ResultDirectory:
    """Collects results in a temporary directory that takes the target's name at the very end.

    `with ResultDirectory(target, force=force) as folder:` gives the temporary directory, a sibling
    of the target. A clean exit renames it; any exception, KeyboardInterrupt included, removes it
    and leaves the target as it was. An existing target is refused with ConfigError unless it is an
    empty directory, or `force` is set and it holds an earlier result (its report.json says so):
    what this project did not write is never deleted. OSErrors become ExportError.

    A target that cannot be replaced (a mount point, the directory somebody works in, one whose
    parent takes no files) is filled instead: the temporary directory is inside of it, and each of
    its files is moved out at the end.
    """

    def __init__(self, target: Path, *, force: bool = False) -> None:
        self._shown = Path(target)
        self._target = Path(os.path.realpath(target))
        self._force = force
        self._folder = self._target
        self._filled = False

    def __enter__(self) -> Path:
        try:
            self.check()
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._filled = _is_fixed(self._target)
            place = self._target / "result" if self._filled else self._target
            self._folder = _beside(place, ".part")
            self._folder.mkdir()
        except OSError as error:
            raise unwritable(self._shown, error) from error
        return self._folder

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.check()
                (self._fill if self._filled else self._publish)()
        except OSError as failure:
            raise unwritable(self._shown, failure) from failure
        finally:
            # after a rename nothing is left here; after an error, that error matters more than
            # a failure to clean up behind it
            shutil.rmtree(self._folder, ignore_errors=True)

    def check(self) -> None:
        """Raise ConfigError unless the target may be created or replaced, ExportError where it
        cannot be written; touches nothing."""
        target = self._target
        there = _is_there(target, self._shown)
        if there and not target.is_dir():
            raise ConfigError(
                f"'{self._shown}' exists and is not a directory", hint="choose another name"
            )
        # it is made beside the target and renamed, or inside of it
        require_writable(target if _is_fixed(target) else target.parent)
        if not there or not any(path != self._folder for path in target.iterdir()):
            return
        if not self._force:
            raise ConfigError(
                f"the directory '{self._shown}' exists and is not empty",
                hint="choose another name, or replace an earlier result with --force",
            )
        if not _holds_result(target):
            raise ConfigError(
                f"the directory '{self._shown}' holds no convsnn report.json; "
                "it is not replaced even with --force",
                hint="choose another name, or remove the directory yourself",
            )

    def _fill(self) -> None:
        _move_up(self._target, self._folder)

    def _publish(self) -> None:
        """Rename the temporary directory to the target; put the old one back if that fails."""
        old = _beside(self._target, ".old")
        try:
            if self._target.exists():
                os.replace(self._target, old)
            os.replace(self._folder, self._target)
        except BaseException:
            if old.exists() and not self._target.exists():
                os.replace(old, self._target)
            raise
        try:
            if old.exists():
                shutil.rmtree(old)
        except OSError as error:
            raise ExportError(
                f"'{self._shown}' is written, but the earlier result, now '{old}', could not be "
                f"removed: {error.strerror or error}"
            ) from error


def _move_up(target: Path, folder: Path) -> None:
    """Move what is in `folder` up into `target`, in which it stands; what else is there goes, and
    comes back where that fails."""
    old = _beside(folder, ".old")
    earlier = [path for path in target.iterdir() if path != folder]
    old.mkdir()
    moved: list[tuple[Path, Path]] = []
    try:
        for source, place in (
            *((path, old / path.name) for path in earlier),
            *((path, target / path.name) for path in sorted(folder.iterdir())),
        ):
            os.replace(source, place)
            moved.append((source, place))
    except BaseException:
        for source, place in reversed(moved):
            os.replace(place, source)
        old.rmdir()
        raise
    shutil.rmtree(old, ignore_errors=True)


def _is_there(target: Path, shown: Path) -> bool:
    """Whether something is there; ExportError for a name that can never be."""
    try:
        target.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        reason = error if isinstance(error, OSError) else OSError(errno.EINVAL, str(error))
        raise unwritable(shown, reason) from None
    return True


def _is_fixed(target: Path) -> bool:
    """Whether an existing directory stays what it is: no other can take its name."""
    if not target.is_dir():
        return False
    here = Path(os.path.realpath(os.curdir))
    used = target == here or target in here.parents
    return used or os.path.ismount(target) or not os.access(target.parent, os.W_OK | os.X_OK)


def _holds_result(folder: Path) -> bool:
    for name in ("report.json", "training.json"):
        try:
            document = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(document, dict) and {"schema", "convsnn"} <= document.keys():
            return True
    return False
