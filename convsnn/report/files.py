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


class ResultDirectory:
    """Collects results in a temporary directory that takes the target's name at the very end.

    `with ResultDirectory(target, force=force) as folder:` gives the temporary directory, a sibling
    of the target. A clean exit renames it; any exception, KeyboardInterrupt included, removes it
    and leaves the target as it was. An existing target is refused with ConfigError unless it is an
    empty directory, or `force` is set and it holds an earlier result (its report.json says so):
    what this project did not write is never deleted. OSErrors become ExportError.
    """

    def __init__(self, target: Path, *, force: bool = False) -> None:
        self._shown = Path(target)
        self._target = Path(os.path.realpath(target))
        self._force = force
        self._folder = self._target

    def __enter__(self) -> Path:
        try:
            self.check()
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._folder = _beside(self._target, ".part")
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
                self._publish()
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
        there = os.path.lexists(target)
        if there and not target.is_dir():
            raise ConfigError(
                f"'{self._shown}' exists and is not a directory", hint="choose another name"
            )
        require_writable(target.parent)  # it is made beside the target, and renamed
        if not there or not any(target.iterdir()):
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


def _holds_result(folder: Path) -> bool:
    for name in ("report.json", "training.json"):
        try:
            document = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(document, dict) and {"schema", "convsnn"} <= document.keys():
            return True
    return False
