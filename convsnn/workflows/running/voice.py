"""What a workflow says while it works: notes, warnings, and how far it has come.

Whoever runs it hears it in his own way. In Python notes go to the log `convsnn`, warnings to
`warnings`, and bars are drawn in notebooks; the command line shows all of it on stderr.
"""

import logging
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from convsnn.errors import ConvsnnWarning
from convsnn.workflows.running.spelling import spelled

_LOG = logging.getLogger("convsnn")


class Voice:
    """How Python hears a workflow; the terminal has one of its own."""

    @property
    def command(self) -> str:
        """How the work was asked for, as reports say it."""
        return "convsnn, from Python"

    def note(self, text: str) -> None:
        """Say what is being done."""
        _LOG.info(spelled(text))

    def warn(self, text: str) -> None:
        """Say what makes a result mean less than it seems to."""
        warnings.warn(spelled(text), ConvsnnWarning, stacklevel=_outside())

    def line(self, text: str) -> None:
        """Say how one of many went, for a log; who watches the bar does without."""
        _LOG.info(spelled(text))

    def reported(self, texts: Iterable[str]) -> None:
        """Pass on the warnings that a report holds to whoever may never look at it."""
        for text in texts:
            self.warn(text)

    def progress(self, title: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """A bar while the `with` lasts; what it gives takes the number done of `total`."""
        console = Console(stderr=True)
        return bar(console, title, total, shown=console.is_jupyter)


_VOICE: ContextVar[Voice] = ContextVar("voice", default=Voice())  # noqa: B039 (it has no state)


@contextmanager
def heard_by(voice: Voice) -> Iterator[None]:
    """Let `voice` say what is said inside the `with`."""
    before = _VOICE.set(voice)
    try:
        yield
    finally:
        _VOICE.reset(before)


def note(text: str) -> None:
    """Say what is being done."""
    _VOICE.get().note(text)


def warn(text: str) -> None:
    """Say what makes a result mean less than it seems to."""
    _VOICE.get().warn(text)


def line(text: str) -> None:
    """Say how one of many went, for a log; who watches the bar does without."""
    _VOICE.get().line(text)


def reported(texts: Iterable[str]) -> None:
    """Pass on the warnings that a report holds to whoever may never look at it."""
    _VOICE.get().reported(texts)


def command_line() -> str:
    """How the work was asked for: the command as it could be typed again."""
    return _VOICE.get().command


def progress(title: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
    """A bar while the `with` lasts; what it gives takes the number done of `total`."""
    return _VOICE.get().progress(title, total)


@contextmanager
def bar(
    console: Console, title: str, total: int, *, shown: bool
) -> Iterator[Callable[[int], None]]:
    """A progress bar on `console` that disappears when it is done."""
    columns = (
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    # steps may be minutes long: the time left is told from the last ten, not from half a minute
    options: dict[str, Any] = {"speed_estimate_period": 600, "transient": True}
    with Progress(*columns, console=console, disable=not shown, **options) as drawn:
        task = drawn.add_task(title, total=total)

        def advance(done: int) -> None:
            drawn.update(task, completed=done)

        yield advance


def _outside() -> int:
    """How many frames up the first stands that is not of this package: the user's own line."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("convsnn"):
        frame, level = frame.f_back, level + 1
    return level
