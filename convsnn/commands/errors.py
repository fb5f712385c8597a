"""An error as people see it: on stderr, or as the one document of --json."""

import contextlib
import json

from rich.console import Console

from convsnn.commands.streams import is_closed
from convsnn.commands.terminal import messages
from convsnn.errors import ConvsnnError, UnsupportedError
from convsnn.report.refusals import render_blockers


def _show(error: ConvsnnError, as_json: bool) -> None:
    items = error.items if isinstance(error, UnsupportedError) else ()
    if as_json and not is_closed():
        entry = {
            "type": type(error).__name__,
            "message": str(error),
            "hint": error.hint,
            "items": [vars(item) for item in items],
        }
        print(json.dumps({"error": entry}, indent=2))
        return
    console = messages()
    if items:
        Console(stderr=True, highlight=False).print(render_blockers(items))
    summary = f"{len(items)} place(s) of the network would stay analog" if items else str(error)
    console.print(f"error: {summary}", style="red", markup=False)
    if error.hint and error.hint not in {item.remedy for item in items}:
        console.print(f"hint: {error.hint}", markup=False)


def show_error(error: ConvsnnError, as_json: bool) -> None:
    """Show it, where anybody still reads."""
    try:
        _show(error, as_json)
    except OSError:
        with contextlib.suppress(OSError):
            _show(error, False)
