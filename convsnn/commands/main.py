"""The program: collects the commands, turns errors into one clear message and an exit code.

Exit codes: 0 done and every gate met, 1 ran but a gate failed, 2 could not run or could not print
its result, 130 interrupted (143 by SIGTERM, 129 by SIGHUP).
"""

import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

import typer

from convsnn import __version__
from convsnn.commands.checked import refuse_empty
from convsnn.commands.errors import show_error
from convsnn.commands.faults import closed_output, explain
from convsnn.commands.hints import fitting, options_of
from convsnn.commands.signals import as_interrupts
from convsnn.commands.streams import is_closed, streams
from convsnn.commands.terminal import Terminal, messages
from convsnn.errors import ConfigError, ConvsnnError
from convsnn.plugins import load_installed, load_plugins
from convsnn.workflows.running.cache import require_cache
from convsnn.workflows.running.launched import Dismissed, speaks
from convsnn.workflows.running.voice import heard_by

INTERRUPTED = 130


def _without_plugins(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments without `--plugin NAME`, wherever it stands, and the names."""
    rest, names = [], []
    parts = iter(arguments)
    for part in parts:
        if part == "--plugin":
            names.append(next(parts, ""))
        elif part.startswith("--plugin="):
            names.append(part.partition("=")[2])
        else:
            rest.append(part)
    return rest, names


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program on `arguments` (default: those of the process); returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    with as_interrupts() as came, streams():
        code, shown = _run(given)
        if code == INTERRUPTED:
            code = 128 + came[0] if came else INTERRUPTED
            # of several processes torchrun ends all when one fails, which has said why
            shown = ConvsnnError("interrupted; nothing is left half written") if speaks() else None
        if shown is not None:
            if shown.hint and given and given[0] in _app().COMMANDS:
                known = {*options_of(_app().app, given[0]), "--plugin"}
                shown.hint = fitting(shown.hint, command=given[0], known=known)
            show_error(shown, "--json" in given)
    return code


def _app() -> ModuleType:
    """The commands, read when they are first needed: what they import takes seconds, in which the
    version can be said, and an interruption is one already."""
    return importlib.import_module("convsnn.commands.app")


def _run(given: list[str]) -> tuple[int, ConvsnnError | None]:
    """The exit code, and the error to show."""
    if is_closed():  # before any work, whose result nobody could read
        return 2, closed_output(None)
    if given[:1] == ["--version"]:
        print(f"convsnn {__version__}")
        return 0, None
    shown: ConvsnnError | None = None
    code = 2
    try:
        refuse_empty(given)
        require_cache()
        app = _app().app  # whose own names plug-ins find taken
        with heard_by(Terminal()):
            given[:], names = _without_plugins(given)
            load_plugins(names)
            for error in load_installed():
                messages().print(f"warning: {error}", style="yellow", markup=False)
            result = app(args=given or ["--help"], standalone_mode=False, prog_name="convsnn")
    except ConvsnnError as error:
        shown = error
    except Dismissed as leave:
        code = leave.code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except SystemExit as error:  # typer's answer to a pipe that nobody reads any more
        cause = error.__context__
        shown = closed_output(cause if isinstance(cause, OSError) else None)
    except typer.TyperException as error:
        command = f" {given[0]}" if given and given[0] in _app().COMMANDS else ""
        message = error.format_message().replace("Value error, ", "")
        if speaks():  # of several processes each reads the same wrong options
            shown = ConfigError(message, hint=f"see convsnn{command} --help")
    except Exception as error:  # a fault of ours; exit code 1 would say that a gate failed
        if os.environ.get("CONVSNN_DEBUG"):
            raise
        shown = explain(error)
    else:
        code = result if isinstance(result, int) else 0
        try:
            sys.stdout.flush()
        except OSError as error:  # a pipe without a reader, a full disk
            code, shown = 2, closed_output(error)
    return code, shown
