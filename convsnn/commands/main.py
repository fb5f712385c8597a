"""The program: collects the commands, turns errors into one clear message and an exit code.

Exit codes: 0 done and every gate met, 1 ran but a gate failed, 2 could not run, 130 interrupted.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer
from rich.console import Console

from convsnn import __version__
from convsnn.commands.bench import bench
from convsnn.commands.compare import compare
from convsnn.commands.convert import convert
from convsnn.commands.coverage import coverage
from convsnn.commands.diagnose import diagnose
from convsnn.commands.evaluate import evaluate
from convsnn.commands.figures import figures
from convsnn.commands.finetune import finetune
from convsnn.commands.hints import fitting, options_of
from convsnn.commands.inspect import inspect
from convsnn.commands.list import list_
from convsnn.commands.predict import predict
from convsnn.commands.terminal import Terminal, messages
from convsnn.commands.train import train
from convsnn.commands.tune import tune
from convsnn.errors import ConfigError, ConvsnnError, UnsupportedError, out_of_memory
from convsnn.plugins import load_installed, load_plugins
from convsnn.report.refusals import render_blockers
from convsnn.workflows.running.processes import Dismissed, speaks
from convsnn.workflows.running.voice import heard_by

app = typer.Typer(
    name="convsnn",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_COMMANDS: dict[str, Callable[..., int | None]] = {
    "bench": bench,
    "compare": compare,
    "convert": convert,
    "coverage": coverage,
    "diagnose": diagnose,
    "evaluate": evaluate,
    "figures": figures,
    "finetune": finetune,
    "inspect": inspect,
    "list": list_,
    "predict": predict,
    "train": train,
    "tune": tune,
}


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.")
    ] = False,
    plugin: Annotated[
        list[str] | None,
        typer.Option(
            help="A module outside convsnn that enrols neurons, stages or others; more than once, "
            "anywhere on the line. CONVSNN_PLUGINS and installed packages name more."
        ),
    ] = None,
) -> None:
    """Turn trained ReLU networks into calibrated spiking networks."""
    del version, plugin  # read by `main`, before the names that options take are looked at


for _name, _command in _COMMANDS.items():
    app.command(_name)(_command)


def _show(error: ConvsnnError, as_json: bool) -> None:
    items = error.items if isinstance(error, UnsupportedError) else ()
    if as_json:
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


def _fault(error: Exception) -> ConvsnnError:
    """What to say of an error that nothing was prepared for."""
    if out_of_memory(error):
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        return ConvsnnError(
            f"memory ran out: {first}", hint="choose a smaller --batch-size, or --set batch_size=N"
        )
    return ConvsnnError(
        f"unexpected {type(error).__name__}: {error}",
        hint="please report it; CONVSNN_DEBUG=1 shows the traceback",
    )


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
    if given == ["--version"]:
        print(f"convsnn {__version__}")
        return 0
    shown: ConvsnnError | None = None
    code = 2
    try:
        with heard_by(Terminal()):
            given, names = _without_plugins(given)
            load_plugins(names)
            for error in load_installed():
                messages().print(f"warning: {error}", style="yellow", markup=False)
            result = app(args=given or ["--help"], standalone_mode=False, prog_name="convsnn")
    except ConvsnnError as error:
        shown = error
    except Dismissed as leave:
        code = leave.code
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except typer.TyperException as error:
        command = f" {given[0]}" if given and given[0] in _COMMANDS else ""
        message = error.format_message().replace("Value error, ", "")
        if speaks():  # of several processes each reads the same wrong options
            shown = ConfigError(message, hint=f"see convsnn{command} --help")
    except Exception as error:  # a fault of ours; exit code 1 would say that a gate failed
        if os.environ.get("CONVSNN_DEBUG"):
            raise
        shown = _fault(error)
    else:
        code = result if isinstance(result, int) else 0
    if code == 130:
        shown = ConvsnnError("interrupted; nothing is left half written")
    if shown is not None:
        if shown.hint and given and given[0] in _COMMANDS:
            known = {*options_of(app, given[0]), "--plugin"}
            shown.hint = fitting(shown.hint, command=given[0], known=known)
        _show(shown, "--json" in given)
    return code
