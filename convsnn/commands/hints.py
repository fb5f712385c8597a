"""Hints fitted to the command that is run: they name no option that it has not.

Whoever raises an error does not know the command. A hint there gives one way after the other,
divided by ", or ", and names the options of all commands that may meet the error.
"""

import re
from collections.abc import Set

import typer

_DIVIDER = ", or "
_ELSEWHERE = ("convert the network", "convsnn ")  # options behind them are another command's
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def options_of(app: typer.Typer, command: str) -> set[str]:
    """All options of a command as they are typed."""
    found = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]
    both = [(*parameter.opts, *parameter.secondary_opts) for parameter in found.params]
    return {name for names in both for name in names if name.startswith("-")}


def fitting(hint: str, *, command: str, known: Set[str]) -> str:
    """What of `hint` somebody can do who runs `command`, whose options are `known`.

    What tells of another command is left as it is.
    """
    ways = hint.split(_DIVIDER)
    fits = [
        way
        for way in ways
        if any(words in way for words in _ELSEWHERE) or set(_OPTION.findall(way)) <= known
    ]
    return _DIVIDER.join(fits) if fits else f"see convsnn {command} --help"
