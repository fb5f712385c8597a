"""Every result of the suite is judged, whatever a test asks of it: reports against their JSON
Schema as they are written, tables of CSV as a command hands them out.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from convsnn.commands import printing
from convsnn.report import files
from convsnn.report.sheets import Sheet

SCHEMA = Path(__file__).parent.parent / "docs" / "report.schema.json"
# what only report.json holds, among the documents of all commands
MARKS = {"schema", "timesteps", "ann", "snn", "layers", "sources", "energy"}


@cache
def validator() -> Any:
    """What validates by the published schema; None where jsonschema is not installed."""
    try:
        import jsonschema
    except ImportError:
        return None
    return jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))


def judge_file(path: Path) -> None:
    """AssertionError where `path` is a report that the published schema refuses."""
    if path.suffix != ".json" or validator() is None:
        return
    document = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(document, Mapping) and document.keys() >= MARKS:
        error = next(validator().iter_errors(document), None)
        place = "" if error is None else ".".join(map(str, error.absolute_path))
        assert error is None, f"{path.name} breaks docs/report.schema.json at {place}: {error}"


def judge_sheets(sheets: Sequence[Sheet]) -> None:
    """AssertionError where tables cannot be read back as they are, or a column names nothing."""
    names = [sheet.name for sheet in sheets]
    assert len({*names}) == len(names) > 0, names
    for sheet in sheets:
        header, *rows = csv.reader(io.StringIO(sheet.to_csv(), newline=""))
        units = [f" [{unit}]" if unit else "" for unit in sheet.columns.values()]
        assert header == [n + u for n, u in zip(sheet.columns, units, strict=True)], sheet.name
        assert len(rows) == len(sheet.rows), sheet.name
        for written, row in zip(rows, sheet.rows, strict=True):
            for name, cell in zip(sheet.columns, written, strict=True):
                value = row.get(name)
                assert cell == "" if value is None else _same(cell, value), (sheet.name, name)
        for name in sheet.columns if rows else ():
            assert any(name in row for row in sheet.rows), f"{sheet.name}: no row has {name}"


def _same(cell: str, value: Any) -> bool:
    """Whether a cell is its value to the last digit."""
    return cell == value if isinstance(value, str) else bool(json.loads(cell) == _plain(value))


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


@contextmanager
def judged() -> Iterator[None]:
    """Inside the `with` whatever is written or handed out is judged."""
    with pytest.MonkeyPatch.context() as patch:
        write, hand_out = files.write_bytes_via, printing.write_csv

        def written(path: Path, writer: Callable[[Path], None]) -> None:
            write(path, writer)
            judge_file(Path(path))

        def handed_out(result: Any, place: Path | None) -> None:
            judge_sheets(result.sheets())
            hand_out(result, place)

        patch.setattr(files, "write_bytes_via", written)
        patch.setattr(printing, "write_csv", handed_out)
        yield
