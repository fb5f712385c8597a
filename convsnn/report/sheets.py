"""Tables as CSV files: what stands in a table of the terminal, whole and in full precision.

One file is one table. Its first line has the names of the values as the JSON documents have them,
with a unit in brackets; after that a missing value is an empty cell, a list is JSON. Names are as
the model and the data have them: a spreadsheet may take one that begins with "=" for a formula.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convsnn.errors import ConfigError
from convsnn.report.files import make_folder, require_writable, write_text

SUFFIX = ".csv"
FRACTION, RATIO, SECONDS, BYTES = "fraction", "ANN = 1", "s", "bytes"
RATE, ACTIVATION = "spikes per neuron and step", "activation"


@dataclass(frozen=True)
class Sheet:
    """A table under its `name`: its columns, with the unit of each or "", and its rows by column.

    What a row does not have is missing in it.
    """

    name: str
    columns: Mapping[str, str]
    rows: Sequence[Mapping[str, Any]]

    def to_csv(self) -> str:
        """The text of the file."""
        buffer = io.StringIO()
        table = csv.writer(buffer, lineterminator="\r\n")
        table.writerow(f"{name} [{unit}]" if unit else name for name, unit in self.columns.items())
        table.writerows([_cell(row.get(name)) for name in self.columns] for row in self.rows)
        return buffer.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)  # numbers as Python's repr: to the last bit


def flat(values: Mapping[str, Any], *, keep: Iterable[str] | None = None) -> dict[str, Any]:
    """A row of a document without what is nested in it: `threshold.min` for {threshold: {min}}.

    Of `values` only those that `keep` names, where it is given.
    """
    found: dict[str, Any] = {}
    for name in values if keep is None else keep:
        value = values.get(name)
        if isinstance(value, Mapping):
            found |= {f"{name}.{key}": inner for key, inner in flat(value).items()}
        else:
            found[name] = value
    return found


def require_place(place: Path) -> None:
    """Refuse, before the work, a place that no tables can be written to; touches nothing."""
    if place.suffix.lower() != SUFFIX:
        require_writable(place)
        return
    if place.is_dir():
        raise ConfigError(
            f"'{place}' is a directory", hint="name a .csv file, or a directory of another name"
        )
    require_writable(place.parent)


def write_sheets(sheets: Sequence[Sheet], place: Path) -> list[Path]:
    """Write the first of `sheets` to `place` where that is a .csv file, else all of them into the
    directory `place`, each as NAME.csv; the files.

    A file is written whole or not at all, in place of one of its name; nothing else is touched.
    """
    whole = place.suffix.lower() == SUFFIX
    make_folder(place.parent if whole else place)
    files = {place: sheets[0]} if whole else {place / f"{s.name}{SUFFIX}": s for s in sheets}
    for path, sheet in files.items():
        write_text(path, sheet.to_csv())
    return list(files)
