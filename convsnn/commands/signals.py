"""The end of a process from outside: SIGTERM and SIGHUP leave as little behind as Ctrl-C does."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_NAMES = ("SIGTERM", "SIGHUP")  # the latter is not everywhere


@contextmanager
def as_interrupts() -> Iterator[list[int]]:
    """Let these signals raise KeyboardInterrupt inside the `with`; those that came are listed.

    A signal that the process was started to ignore, as by nohup, stays ignored.
    """
    came: list[int] = []

    def end(number: int, _: FrameType | None) -> NoReturn:
        came.append(number)
        for one in before:
            signal.signal(one, signal.SIG_IGN)  # what is cleaned up now is cleaned up whole
        raise KeyboardInterrupt

    before: list[int] = []
    if threading.current_thread() is threading.main_thread():
        known = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
        before = [one for one in known if signal.getsignal(one) is signal.SIG_DFL]
    for one in before:
        signal.signal(one, end)
    try:
        yield came
    finally:
        for one in before:
            signal.signal(one, signal.SIG_DFL)
