"""Rows of coverage in a file of JSON lines, so that an interrupted run can go on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convsnn.commands.coverage_verdict import Row
from convsnn.errors import ConfigError, ExportError, LoadError


class RowFile:
    """A first line that says what the rows were made by, then a row a line, in any order."""

    def __init__(self, path: Path, made_by: Mapping[str, Any]) -> None:
        self.path, self._made_by = path, dict(made_by)

    def open(self, *, resume: bool) -> dict[str, Row]:
        """Begin the file, or with `resume` take up what it holds; rows by network.

        Raises ConfigError where rows lie there and nobody asked to go on with them, or where they
        were made in another way; LoadError where the file is damaged.
        """
        if not self.path.exists():
            self._append(self._made_by)
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

    def _append(self, form: Mapping[str, Any]) -> None:
        try:
            with self.path.open("a", encoding="utf-8", newline="\n") as file:
                file.write(json.dumps(form) + "\n")
        except OSError as error:
            raise ExportError(f"cannot write '{self.path}': {error.strerror or error}") from None

    def _read(self) -> dict[str, Row]:
        try:
            text = self.path.read_text(encoding="utf-8")
            whole = text[: text.rfind("\n") + 1]  # a run that was killed may leave half a line
            lines = [json.loads(line) for line in whole.splitlines()]
            made_by = lines[0] if lines else {}
            rows = [Row.from_json(line) for line in lines[1:]]
            if whole != text:
                self.path.write_text(whole, encoding="utf-8", newline="\n")
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise LoadError(
                f"'{self.path}' does not hold rows of coverage: {error}",
                hint="remove the file to begin anew",
            ) from None
        different = sorted(k for k, v in self._made_by.items() if made_by.get(k) != v)
        if different:
            raise ConfigError(
                f"the rows in '{self.path}' were made with other {', '.join(different)}",
                hint="give the same options, or remove the file to begin anew",
            )
        return {row.network: row for row in rows}
