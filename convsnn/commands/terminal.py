"""What is said beside the result: on stderr, wrapped between words on a terminal."""

import shlex
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from rich.console import Console

from convsnn.workflows.running.voice import Voice, bar


def messages() -> Console:
    """A console on stderr: a terminal gets lines wrapped between words, a file whole ones."""
    console = Console(stderr=True, highlight=False)
    console.soft_wrap = not console.is_terminal
    return console


class Terminal(Voice):
    """How a terminal hears a workflow: all on stderr, and bars only where someone looks."""

    @property
    def command(self) -> str:
        """The command as the user could type it again."""
        return shlex.join(["convsnn", *sys.argv[1:]])

    def note(self, text: str) -> None:
        """Say what is being done."""
        messages().print(text, markup=False)

    def warn(self, text: str) -> None:
        """The same in yellow."""
        messages().print(text, style="yellow", markup=False)

    def line(self, text: str) -> None:
        """A terminal has the bar."""
        console = messages()
        if not console.is_terminal:
            console.print(text, markup=False)

    def reported(self, texts: Iterable[str]) -> None:
        """Nothing: what a command prints shows them."""

    def progress(self, title: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """A bar; a log file gets none."""
        console = Console(stderr=True)
        return bar(console, title, total, shown=console.is_terminal)
