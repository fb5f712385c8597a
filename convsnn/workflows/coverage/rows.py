"""Rows of coverage in a file of JSON lines, so that an interrupted run can go on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convsnn.errors import ConfigError, ExportError, LoadError
from convsnn.report.files import write_text
from convsnn.workflows.coverage.verdict import Row

_ADDED = ("folder",)  # a file made without one takes it on with the first that is given


class RowFile:
    """A first line that says what the rows were made by, then a row a line, in any order."""

    def __init__(self, path: Path, made_by: Mapping[str, Any]) -> None:
        self.path, self._made_by = path, dict(made_by)

    def open(self, *, resume: bool) -> dict[str, Row]:
        """Begin the file, or with `resume` take up what it holds; rows by network.

        Raises ConfigError where rows lie there and nobody asked to go on with them, or where they
        were made in another way; LoadError where the file is damaged.
        """
        if self._is_new():
            write_text(self.path, self._header())
            return {}
        if not resume:
            raise ConfigError(
                f"'{self.path}' holds rows of an earlier run",
                hint="go on with --resume, or remove the file to begin anew",
            )
        return self._read()

    def add(self, row: Row) -> None:
        """Append one row."""
        self._append(row.to_json())

    def _header(self) -> str:
        return json.dumps(self._made_by) + "\n"

    def _is_new(self) -> bool:
        """Whether there is no file, or one of a run that was killed in its first line."""
        if not self.path.exists():
            return True
        if not self.path.is_file() or self.path.stat().st_size >= len(self._header()):
            return False
        return self._header().encode().startswith(self._bytes())

    def _bytes(self) -> bytes:
        try:
            return self.path.read_bytes()
        except OSError as error:
            reason = error.strerror or error
            raise LoadError(f"'{self.path}' cannot be read: {reason}") from None

    def _append(self, form: Mapping[str, Any]) -> None:
        try:
            with self.path.open("a", encoding="utf-8", newline="\n") as file:
                file.write(json.dumps(form) + "\n")
        except OSError as error:
            raise ExportError(f"cannot write '{self.path}': {error.strerror or error}") from None

    def _read(self) -> dict[str, Row]:
        try:
            text = self._bytes().decode("utf-8")
            whole = text[: text.rfind("\n") + 1]  # a run that was killed may leave half a line
            lines = [json.loads(line) for line in whole.splitlines()]
            if not lines or not isinstance(lines[0], dict):
                raise ValueError("its first line does not say what made them")
            made_by = lines[0]
            rows = [_row(line) for line in lines[1:]]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise LoadError(
                f"'{self.path}' does not hold rows of coverage: {error}",
                hint="remove the file to begin anew",
            ) from None
        added = {k: v for k, v in self._made_by.items() if k in _ADDED and k not in made_by}
        known = {**made_by, **added}
        different = sorted(k for k, v in self._made_by.items() if known.get(k) != v)
        if different:
            raise ConfigError(
                f"the rows in '{self.path}' were made with other {', '.join(different)}",
                hint="give the same options, or remove the file to begin anew",
            )
        rest = whole[whole.index("\n") + 1 :]
        if added or whole != text:
            write_text(self.path, json.dumps(known) + "\n" + rest)
        return {row.network: row for row in rows}


def _row(form: Any) -> Row:
    """A row as it was written; TypeError or KeyError where it is not that."""
    row, empty = Row.from_json(form), Row("")
    for name in ("network", "family", "verdict", "reason", "checked", "digest"):
        if not isinstance(getattr(row, name), str):
            raise TypeError(f"the {name} in a row is no text")
    census = [getattr(row.census, name) for name in vars(empty.census)]
    kinds = [kind for kind in census if isinstance(kind, dict)]
    counts = [n for kind in kinds for n in kind.values()] + [row.census.products]
    if len(kinds) != len(census) - 1 or not all(isinstance(n, int) for n in counts):
        raise TypeError(f"the census of '{row.network}' holds no counts")
    return row
