"""Measures engines side by side: warmed up, in turns, medians of repeats on one number of threads.

In every round each engine and the original network run once, so that what else the machine does
falls on all of them. What is done once (packing, compiling) falls into the warm-up and is told by
itself.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from convsnn.errors import ConvsnnError, MissingExtraError
from convsnn.simulate import simulate
from convsnn.spiking.network import Spiking
from convsnn.workflows.bench.peers import PEERS, Contender, Run, contenders

ANN = "ann"
TRIAL_STEPS = 8  # by which the fastest mode of an engine is chosen
_TRIALS = 5  # of every mode, in turns; the least counts, for noise only ever adds
_HOPELESS = 2.0  # times the best so far: tried no further
_ANN_PASSES = 4  # of one measurement: a single pass is short
Row = dict[str, Any]


@dataclass
class Entry:
    """One engine ready to run on one batch, and what it has taken so far.

    `warm_up` are the seconds of preparing and of the first run; `tried` those of a step in every
    mode that was tried before this one was taken.
    """

    engine: str
    precision: str
    mode: str
    run: Run
    warm_up: float
    tried: dict[str, float] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Failure:
    """An engine that could not run, and why."""

    engine: str
    precision: str
    reason: str


class Clock:
    """How much of the time that the user gave is left; endless where none was given."""

    def __init__(self, minutes: float | None) -> None:
        self._end = None if minutes is None else time.perf_counter() + 60 * minutes

    def left(self) -> float:
        """Seconds."""
        return float("inf") if self._end is None else self._end - time.perf_counter()


def timed(action: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call, until the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def enter(
    engine: str,
    net: Spiking,
    x: Tensor,
    *,
    precisions: Sequence[str] | None = None,
    clock: Clock | None = None,
) -> tuple[list[Entry], list[Failure]]:
    """`engine` made ready on `x`: an entry per precision, or the fastest where it chooses itself.

    `precisions` limits our own engines. MissingExtraError where its package is not installed; any
    other fault becomes a Failure, for other engines can still be measured. A mode that cannot run
    does not count where another of the same engine can.
    """
    try:
        ways = contenders(engine, net, x)
    except MissingExtraError:
        raise
    except Exception as error:  # a peer's own faults come in every type
        return [], [Failure(engine, "", _reason(error))]
    if precisions is not None:
        ways = [way for way in ways if way.precision in precisions]
    entries, failures = [], []
    for way in ways:
        try:
            entries.append(_prepared(engine, way))
        except Exception as error:  # as above
            failures.append(Failure(engine, way.precision, f"{way.mode}: {_reason(error)}"))
    if precisions is None and entries:
        return [_fastest(entries, x.device, clock or Clock(None))], []
    return entries, failures


def _prepared(engine: str, way: Contender) -> Entry:
    start = time.perf_counter()
    run = way.prepare()
    run(TRIAL_STEPS)
    return Entry(engine, way.precision, way.mode, run, time.perf_counter() - start)


def _fastest(entries: Sequence[Entry], device: torch.device, clock: Clock) -> Entry:
    """The mode with the fastest step; its warm-up holds the time spent on all of them."""
    start = time.perf_counter()
    least = [float("inf")] * len(entries)
    for trial in range(_TRIALS if len(entries) > 1 else 0):
        if trial and clock.left() <= 0:
            break
        best = min(least)
        for place, entry in enumerate(entries):
            if best < float("inf") and least[place] > _HOPELESS * best:
                continue
            run = entry.run
            found = timed(lambda run=run: run(TRIAL_STEPS), device)  # type: ignore[misc]
            least[place] = min(least[place], found / TRIAL_STEPS)
    chosen = entries[least.index(min(least))]
    if len(entries) > 1:
        chosen.tried = {f"{e.precision}, {e.mode}": s for e, s in zip(entries, least, strict=True)}
    warm_up = sum(entry.warm_up for entry in entries) + time.perf_counter() - start
    chosen.warm_up = warm_up
    return chosen


def _reason(error: Exception) -> str:
    text = str(error).strip().splitlines()
    kind = "" if isinstance(error, ConvsnnError) else f"{type(error).__name__}: "
    return kind + (text[0] if text else "")


def race(
    entries: Sequence[Entry],
    ann: nn.Module,
    x: Tensor,
    *,
    steps: int,
    repeats: int,
    clock: Clock,
    share: float = 1.0,
) -> list[float]:
    """Run every entry in turns, `repeats` times each; returns the seconds of the ANN's passes.

    Each runs at least once. After that, one is left out of a round when it would not end within
    `share` of the time that is left.
    """
    end = time.perf_counter() + share * clock.left()
    passes: list[float] = []
    for _ in range(repeats):
        with torch.no_grad():
            each = timed(lambda: [ann(x) for _ in range(_ANN_PASSES)], x.device)
        passes.append(each / _ANN_PASSES)
        for entry in entries:
            expected = statistics.median(entry.seconds) if entry.seconds else 0.0
            if entry.seconds and time.perf_counter() + expected > end:
                continue
            run = entry.run
            entry.seconds.append(timed(lambda run=run: run(steps), x.device))  # type: ignore[misc]
    return passes


def agreements(entries: Sequence[Entry], net: Spiking, x: Tensor, steps: int) -> list[float]:
    """Of each entry, the fraction of images with the answer of our float32 reference.

    It also runs each entry for as many steps as are measured, which ends the warm-up.
    """
    wanted = simulate(net, x, steps=steps, count=False).outputs[0][-1]
    found = []
    for entry in entries:
        start = time.perf_counter()
        got = entry.run(steps)
        entry.warm_up += time.perf_counter() - start
        found.append(float((got.float().argmax(1) == wanted.argmax(1)).double().mean()))
    return found


def row(entry: Entry, ann: float, *, model: str, steps: int, batch: int, agreement: float) -> Row:
    """What is said of one engine; `ann` are the seconds of one pass of the original."""
    seconds = statistics.median(entry.seconds)
    return {
        "model": model,
        "engine": entry.engine,
        "precision": entry.precision,
        "timesteps": steps,
        "batch_size": batch,
        "images_per_second": batch / seconds,
        "step_over_ann": seconds / steps / ann,
        "peak_memory_bytes": None,
        "mode": entry.mode,
        "counted": entry.engine.endswith("counting"),
        "agreement": agreement,
        "seconds": {"median": seconds, "least": min(entry.seconds), "most": max(entry.seconds)},
        "repeats": len(entry.seconds),
        "warm_up_seconds": entry.warm_up,
        "tried_step_seconds": entry.tried,
    }


def ratios(rows: Sequence[Mapping[str, Any]], peers: Sequence[str]) -> dict[str, float | None]:
    """Per engine of `peers`, the smallest over models, steps and batches of our throughput in the
    fastest precision divided by its own; None where it has no row."""
    found: dict[str, float | None] = {}
    for engine in (name for peer in peers for name in PEERS[peer]):
        each = []
        for theirs in (r for r in rows if r["engine"] == engine):
            ours = [
                r["images_per_second"]
                for r in rows
                if r["engine"] == "convsnn" and _case(r) == _case(theirs)
            ]
            if ours:
                each.append(max(ours) / theirs["images_per_second"])
        found[engine] = min(each, default=None)
    return found


def _case(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["model"], row["timesteps"], row["batch_size"]
