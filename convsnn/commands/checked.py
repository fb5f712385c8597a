"""What every option of every command has in common: numbers in a range, texts that can be used.

It is asked here, once, before a command begins: a number with 23 digits, `nan`, a name that no
file system takes or that is no UTF-8 would otherwise be found out after the work.
"""

import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from convsnn.errors import ConfigError
from convsnn.ranges import BATCH, COUNT, SEED, STEPS, finite
from convsnn.report.sheets import require_place

LONGEST = 4096  # letters, as no path is longer
_MOST = {
    "timesteps": STEPS,
    "finetune_steps": STEPS,
    "batch_size": BATCH,
    "seed": SEED,
}  # of others COUNT
_EMPTY = re.compile(r"--[a-z][a-z-]*=$")


def checked(command: Callable[..., int | None]) -> Callable[..., int | None]:
    """`command`, which then raises ConfigError for a value that none could work with."""

    @functools.wraps(command)
    def run(**given: Any) -> int | None:
        for name, value in given.items():
            for one in value if isinstance(value, list) else [value]:
                _check(name, one)
        return command(**given)

    return run


def refuse_empty(arguments: Sequence[str]) -> None:
    """Raise ConfigError for an empty value, as a shell makes of a variable that is not set.

    Asked of the words themselves, for an empty path reads like the current directory.
    """
    for place, word in enumerate(arguments):
        before = arguments[place - 1] if place else ""
        if not word.strip():
            what = before if before.startswith("-") else "an argument"
        elif _EMPTY.match(word):
            what = word.removesuffix("=")
        else:
            continue
        raise ConfigError(
            f"{what} is empty", hint="give it a value, or leave it out; is a shell variable unset?"
        )


def _check(name: str, value: object) -> None:
    option = f"--{name.rstrip('_').replace('_', '-')}"
    if isinstance(value, bool):
        return
    if isinstance(value, int):
        most = _MOST.get(name, COUNT)
        if abs(value) > most:
            raise ConfigError(f"{option} may be {most} at most, not {value}")
    elif isinstance(value, float):
        finite(value, option)
    elif isinstance(value, str | Path):
        _check_text(option, str(value))
        if name == "csv":
            require_place(Path(value))


def _check_text(option: str, text: str) -> None:
    if len(text) > LONGEST:
        raise ConfigError(f"{option} has {len(text)} letters, and may have {LONGEST}")
    try:
        text.encode()
    except UnicodeEncodeError:
        shown = text.encode("utf-8", "backslashreplace").decode()
        raise ConfigError(
            f"{option} {shown} is no UTF-8, and no report could name it",
            hint="rename the file or directory, or give a link to it",
        ) from None
