"""Standard output and error that may be closed, full, or read by nobody."""

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


def is_closed() -> bool:
    """Whether the process was started without a standard output: `>&-`."""
    return sys.__stdout__ is None and sys.stdout is None


@contextmanager
def streams() -> Iterator[None]:
    """Inside the `with` there is a stderr to write to, even where the shell closed it.

    What could not be written by the end is given up, so that Python does not complain of it once
    more when it leaves. Streams that were replaced meanwhile are as before.
    """
    before: tuple[TextIO | None, TextIO | None] = sys.stdout, sys.stderr
    with contextlib.ExitStack() as stack:
        if before[1] is None:
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stderr(nowhere))
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before
            for stream in before:
                _give_up(stream)


def _give_up(stream: TextIO | None) -> None:
    """Empty a stream; where that cannot be, what it holds goes nowhere."""
    if stream is None:
        return
    try:
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
