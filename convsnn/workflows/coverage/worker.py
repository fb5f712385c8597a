"""Judges networks in processes of their own, so that one that dies or never ends is only a row.

A worker is `python -m convsnn.workflows.coverage.worker`: it reads one request a line, as JSON, and
answers each with a row, as JSON.
"""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import IO

from convsnn.workflows.coverage.verdict import FAILED, Extent, Row, judge

_LIFETIME = 40  # networks; what torch keeps of every one it traced goes with the process


@dataclass(frozen=True)
class Limits:
    """What one network may use: seconds, and bytes of memory (None: all there is)."""

    seconds: float
    memory: int | None = None


class Worker:
    """One process at a time, started when needed and again after a death."""

    def __init__(self, extent: Extent, limits: Limits, messages: IO[str]) -> None:
        self._extent, self._limits, self._messages = extent, limits, messages
        self._process: subprocess.Popen[str] | None = None
        self._done = 0
        self._closed = False

    def judge(self, network: str) -> Row:
        """The row of `network`, also where the process dies or takes too long over it."""
        if self._process is None or self._done >= _LIFETIME:
            self.stop()
            self._start()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(self._limits.seconds, end)
        timer.start()
        request = {"network": network, "extent": asdict(self._extent)}
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            timer.cancel()
        self._done += 1
        if answer.endswith("\n"):
            row = Row.from_json(json.loads(answer))
            if row.verdict == FAILED:  # what it holds on to, memory most of all, is not for others
                self.stop()
            return row
        self.stop()
        seconds = self._limits.seconds
        reason = f"not done after {seconds:g} s" if late.is_set() else self._last_words(process)
        return Row(network, verdict=FAILED, reason=reason)

    def _start(self) -> None:
        if self._closed:
            raise RuntimeError("the worker is closed")
        self._messages.seek(0)
        self._messages.truncate()
        memory = "" if self._limits.memory is None else str(self._limits.memory)
        # The same code as here, also from a checkout; what lies in the current directory is not.
        paths = os.pathsep.join(os.path.abspath(path) for path in sys.path if path)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, memory],
            env={**os.environ, "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # an interrupt ends the command, which then ends this
        )
        self._done = 0

    def _last_words(self, process: "subprocess.Popen[str]") -> str:
        self._messages.seek(0)
        lines = [line.strip() for line in self._messages if line.strip()]
        words = f": {lines[-1]}" if lines else ""
        return f"the process died ({process.returncode}){words}"

    def stop(self) -> None:
        """End the process, where there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def close(self) -> None:
        """End a process that another thread may be waiting for; nothing is judged any more."""
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()


def judge_all(
    networks: Sequence[str], extent: Extent, *, jobs: int, limits: Limits
) -> Iterator[Row]:
    """Rows as they are done, by `jobs` processes side by side."""
    with ExitStack() as opened:
        files = [
            opened.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace"))
            for _ in range(jobs)
        ]
        yield from _judge_all(networks, [Worker(extent, limits, file) for file in files])


def _judge_all(networks: Sequence[str], workers: Sequence[Worker]) -> Iterator[Row]:
    idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def one(network: str) -> Row:
        worker = idle.get()
        try:
            return worker.judge(network)
        finally:
            idle.put(worker)

    pool = ThreadPoolExecutor(len(workers))
    try:
        for future in as_completed([pool.submit(one, network) for network in networks]):
            yield future.result()
    finally:  # also where the reader of these rows stops early
        for worker in workers:
            worker.close()
        pool.shutdown(cancel_futures=True)
        for worker in workers:
            worker.stop()


def _limit_memory(size: int) -> None:
    """Let an allocation beyond `size` bytes fail in Python, before the machine is out of memory."""
    try:
        import resource
    except ImportError:  # not on Windows; there the limit is the machine's
        return
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def main() -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    if sys.argv[1]:
        _limit_memory(int(sys.argv[1]))
    for line in sys.stdin:
        request = json.loads(line)
        row = judge(request["network"], Extent(**request["extent"]))
        answers.write(json.dumps(row.to_json()) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
