"""The result on stdout: one JSON document, or a table."""

from typing import Any

from rich.console import Console

from convsnn.commands.terminal import messages
from convsnn.report.document import to_json
from convsnn.report.page.table import render_table
from convsnn.workflows.running.result import Result


def show(report: dict[str, Any], *, as_json: bool) -> None:
    """Print the result on stdout: the table, or the document."""
    if as_json:
        print(to_json(report))
        if report.get("doubt"):
            messages().print(f"warning: {report['doubt']}", style="yellow", markup=False)
    else:
        Console().print(render_table(report))


def show_result(result: Result, *, as_json: bool, width: int = 0) -> None:
    """Print what a workflow gave back; a file has room for a table of `width` characters."""
    if as_json:
        print(result.to_json(), end="")
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(console.width, width))
    console.print(result.render(width=console.width))
