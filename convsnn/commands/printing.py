"""The result on stdout: one JSON document, or a table."""

from typing import Any

from rich.console import Console

from convsnn.commands.terminal import messages
from convsnn.report.document import to_json
from convsnn.report.page.table import render_table


def show(report: dict[str, Any], *, as_json: bool) -> None:
    """Print the result on stdout: the table, or the document."""
    if as_json:
        print(to_json(report))
        if report.get("doubt"):
            messages().print(f"warning: {report['doubt']}", style="yellow", markup=False)
    else:
        Console().print(render_table(report))
