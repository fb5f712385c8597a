"""Batches that fit into memory: a guess beforehand, and smaller pieces where it was wrong."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from convsnn.errors import SimulationError, out_of_memory
from convsnn.graph import Graph
from convsnn.simulate import CHUNK_ELEMENTS

Batches = Iterable[tuple[Tensor, Tensor | None]]
Result = TypeVar("Result")

USUAL_BATCH = 50
_SHARE = 0.5  # of the memory that is free; the rest is for what the estimate does not see
_PER_NEURON = 24  # bytes: potential, the original's activation, when it fired, some to spare
_PER_VALUE = 32  # bytes for each element of the largest layer: its copies while it is computed


def fitting_batch(
    graph: Graph,
    device: torch.device,
    *,
    most: int = USUAL_BATCH,
    free: int | None = None,
    processes: int = 1,
) -> int:
    """Images that can be run at once in the memory of `device`: `most`, or as many as fit.

    `free` is the memory in bytes, None asks the machine; so many `processes` share it.
    """
    sizes = [torch.Size(shape).numel() for shape in graph.shapes.values()]
    image = graph.neurons * _PER_NEURON + max(sizes) * _PER_VALUE
    spare = _SHARE * (free_memory(device) if free is None else free) / processes
    return int(min(most, max(1, (spare - CHUNK_ELEMENTS * _PER_VALUE) // image)))


def free_memory(device: torch.device) -> int:
    """Bytes that can still be had on `device`; a limit set for this process group counts."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return min(_available(), _group_limit())


def _available() -> int:
    """What the machine can give without swapping."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass  # not Linux: all that is free is the nearest thing to it
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 1 << 62  # nothing is known, so nothing is held back


def _group_limit() -> int:
    """What is left of the limit that a container sets, where it sets one."""
    folder = Path("/sys/fs/cgroup")
    names = (
        ("memory.max", "memory.current"),
        (
            "memory/memory.limit_in_bytes",
            "memory/memory.usage_in_bytes",
        ),
    )
    for limit, used in names:
        try:
            most, now = (int((folder / name).read_text()) for name in (limit, used))
        except (OSError, ValueError):  # no such limit; "max" says so in words
            continue
        return max(0, most - now)
    return 1 << 62


def in_pieces(
    batches: Batches,
    work: Callable[[Tensor, Tensor | None], Result],
    *,
    shrunk: Callable[[int], None] | None = None,
) -> Iterator[Result]:
    """`work(x, y)` on every batch; where memory runs out on half as many images at once, and so on.

    `shrunk(images)` is told each new size. Work that fails must leave nothing behind. Raises
    SimulationError where memory runs out on a single image.
    """
    most: int | None = None
    for x, y in batches:
        start = 0
        while start < len(x):
            stop = len(x) if most is None else min(start + most, len(x))
            result = _unless_memory_runs_out(
                work, x[start:stop], None if y is None else y[start:stop]
            )
            if result is not None:
                yield result
                start = stop
                continue
            if stop - start == 1:
                raise SimulationError(
                    "memory ran out on a single image",
                    hint="run it on a machine, or a --device, with more memory",
                )
            most = (stop - start) // 2
            if shrunk is not None:
                shrunk(most)


def _unless_memory_runs_out(
    work: Callable[[Tensor, Tensor | None], Result], x: Tensor, y: Tensor | None
) -> Result | None:
    try:
        return work(x, y)
    except Exception as error:
        if not out_of_memory(error):
            raise
    if torch.cuda.is_initialized():  # here the error, and with it what its frames held, is gone
        torch.cuda.empty_cache()
    return None
