"""`convsnn list`: what is known under each kind of name, and every option of one of them.

With `--json` one document is printed, `{KIND: [row, ...]}`; see `convsnn.workflows.catalogue`.
"""

from typing import Annotated

import typer

from convsnn.commands import options, printing
from convsnn.workflows.catalogue import Kind, catalogue

WIDE = 110  # characters, in a file


def list_(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    name: Annotated[
        str | None,
        typer.Argument(help="One of them: all options, with type, unit and default."),
    ] = None,
    *,
    as_json: options.Json = False,
    csv: options.Csv = None,
) -> int:
    """List the known names of a kind as options take them, or explain one of them."""
    printing.show_result(catalogue(kind, name), as_json=as_json, csv=csv, width=WIDE)
    return 0
