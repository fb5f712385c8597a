"""The result on stdout: one JSON document, or a table."""

from pathlib import Path
from typing import Any

from rich.console import Console

from convsnn.commands.terminal import messages
from convsnn.report.document import to_json
from convsnn.report.page.table import render_table
from convsnn.workflows.running.result import Result, Tabled


def show(report: dict[str, Any], *, as_json: bool) -> None:
    """Print the result on stdout: the table, or the document."""
    if as_json:
        print(to_json(report))
        if report.get("doubt"):
            messages().print(f"warning: {report['doubt']}", style="yellow", markup=False)
    else:
        Console().print(render_table(report))


def show_result(result: Result, *, as_json: bool, csv: Path | None = None, width: int = 0) -> None:
    """Print what a workflow gave back, and write its tables to `csv` where that is given; a file
    has room for a table of `width` characters."""
    if as_json:
        print(result.to_json(), end="")
    else:
        console = Console(highlight=False)
        if not console.is_terminal:
            console = Console(highlight=False, width=max(console.width, width))
        console.print(result.render(width=console.width))
    write_csv(result, csv)


def write_csv(result: Tabled, place: Path | None) -> None:
    """Write the tables of a result to `place`, if there is one, and say where they are."""
    if place is None:
        return
    written = result.to_csv(place)
    others = [sheet.name for sheet in result.sheets()[len(written) :]]
    more = f"; a directory would also get {', '.join(others)}" if others else ""
    messages().print(f"tables: {', '.join(map(str, written))}{more}", markup=False)
