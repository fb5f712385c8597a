"""Simulates images only until their answer is settled, and drops them from the batch then.

The result does not depend on the batch split, on the chunks of steps, or on when a batch is made
smaller: an image's answer is the one that the full run gives at the step at which it leaves.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from convsnn.errors import ConfigError, SimulationError
from convsnn.graph import Graph
from convsnn.measure.energy import joules_per_operation
from convsnn.measure.evaluate import is_classifier
from convsnn.measure.fitting import Batches, in_pieces
from convsnn.measure.margins import Margins, Trace, lead
from convsnn.measure.sharing import Alone, Share, joined
from convsnn.measure.tasks.classify import class_numbers
from convsnn.simulate import Program, Simulation

WORTH_KEEPING = 0.75  # of a batch: a smaller one is made once no more than this is left


@dataclass(frozen=True)
class Exits:
    """What a run with early exit gave: `answers` and `steps` (N,), the steps each image ran.

    `accuracy` is None without labels. `counted` and `cached` are joules per image as in
    `measure.energy`, of the steps that ran only; `seconds` is the time spent simulating.
    """

    answers: Tensor
    steps: Tensor
    accuracy: float | None
    counted: float
    cached: float
    seconds: float


@dataclass(frozen=True)
class Left:
    """A batch after all its images left: `outputs` (B, classes) and `answers` at the step at which
    each did, `steps` (B,)."""

    outputs: Tensor
    answers: Tensor
    steps: Tensor


def leave(program: Program, x: Tensor, margins: Margins, *, ids: Tensor) -> Left:
    """Run one batch (B, *input shape) until every image's lead exceeds what `margins` asks for.

    Raises what `run_early` does.
    """
    require_classifier(program.net.graph)
    batch = _Leaving(program, x, ids, margins)
    batch.run(compact=True)
    return Left(batch.outputs, batch.answers, batch.steps)


def trace(
    program: Program,
    batches: Iterable[Tensor],
    *,
    steps: int,
    progress: Callable[[int], None] | None = None,
    shrunk: Callable[[int], None] | None = None,
    first: int = 0,
    share: Share | None = None,
) -> Trace:
    """Leads and answers at every step of images run to the end, to fit margins on.

    `batches` gives x (B, *input shape); `progress(images done)` is called after each, and where
    memory runs out `shrunk(images)` with the new batch size. With a `share` they are the images
    of this process, numbered from `first`, and every process gets the leads of all. Raises
    ConfigError for a network that is no classifier and where there are no images, SimulationError
    for an output that is not finite.
    """
    require_classifier(program.net.graph)
    leads: list[Tensor] = []
    answers: list[Tensor] = []
    share, seen = share or Alone(), 0

    def run(x: Tensor, _: Tensor | None) -> tuple[Tensor, Tensor]:
        ids = torch.arange(first + seen, first + seen + len(x), device=x.device)
        simulation = Simulation(program, x, ids=ids, count=False)
        found = [lead(_advance(simulation, part)) for part in simulation.chunks(steps)]
        return torch.cat([f[0] for f in found]).cpu(), torch.cat([f[1] for f in found]).cpu()

    for margin, answer in in_pieces(((x, None) for x in batches), run, shrunk=shrunk):
        leads.append(margin)
        answers.append(answer)
        seen += margin.shape[1]
        if progress is not None:
            progress(seen)
    samples = int(share.add(torch.tensor(seen)))
    if not samples:
        raise ConfigError("there are no images to fit the margins of early exit on")
    shape = steps, samples
    return Trace(
        joined(share, leads, shape, first=first, dtype=program.dtype),
        joined(share, answers, shape, first=first),
    )


def require_classifier(graph: Graph) -> None:
    """ConfigError where there are no classes, of which one could lead."""
    if not is_classifier(graph):
        raise ConfigError(
            "early exit needs a network that gives class scores",
            hint="leave --early-exit out: every image then runs all time steps",
        )


def run_early(
    program: Program,
    batches: Batches,
    margins: Margins,
    *,
    device: torch.device | str = "cpu",
    compact: bool = True,
    progress: Callable[[int], None] | None = None,
    shrunk: Callable[[int], None] | None = None,
    first: int = 0,
    share: Share | None = None,
) -> Exits:
    """Run every image until its lead exceeds what `margins` asks for at that step.

    `batches`, the numbering of samples from `first`, `progress`, `shrunk` and `share` are those of
    `evaluate`; every process gets what came out of all. Without
    `compact` a batch keeps its images to the end, which gives the same numbers later. Raises
    ConfigError for a network that is no classifier and where there are no images,
    SimulationError as `evaluate` does.
    """
    require_classifier(program.net.graph)
    runner = _Runner(program, margins, torch.device(device), compact, first)
    for samples in in_pieces(batches, runner.run, shrunk=shrunk):
        if progress is not None:
            progress(samples)
    return runner.total(share or Alone())


class _Runner:
    """Runs one batch after the other; all sums are of whole numbers, so no split changes them."""

    def __init__(
        self, program: Program, margins: Margins, device: torch.device, compact: bool, first: int
    ) -> None:
        self._program, self._margins, self._device = program, margins, device
        self._compact, self._first = compact, first
        # per sender, operations as sent, and with what never changes sent once
        self._sent = {n: torch.zeros(2, dtype=torch.float64) for n in program.net.fan_out}
        self._answers: list[Tensor] = []
        self._steps: list[Tensor] = []
        self._samples = self._right = self._labelled = 0
        self._seconds = 0.0

    def run(self, x: Tensor, y: Tensor | None) -> int:
        """Run a batch; the images done so far. A batch that fails leaves nothing behind."""
        x = x.to(self._device)
        begin = self._first + self._samples
        ids = torch.arange(begin, begin + len(x), device=x.device)
        start = time.perf_counter()
        batch = _Leaving(self._program, x, ids, self._margins)
        batch.run(compact=self._compact)
        answers, steps = batch.answers.cpu(), batch.steps.cpu()
        self._seconds += time.perf_counter() - start
        for name, counts in batch.operations():
            self._sent[name] += torch.tensor(counts, dtype=torch.float64)
        self._answers.append(answers)
        self._steps.append(steps)
        self._samples += len(x)
        if y is not None:
            self._right += int((answers == class_numbers(y).cpu()).sum())
            self._labelled += len(y)
        return self._samples

    def total(self, share: Share) -> Exits:
        """What came out of all batches of all processes."""
        counts = torch.tensor([self._samples, self._right, self._labelled])
        samples, right, labelled = share.add(counts).tolist()
        if not samples:
            raise ConfigError("there are no images to run with early exit")
        net, joules = self._program.net, torch.zeros(2, dtype=torch.float64)
        for name, counts in self._sent.items():
            joules += share.add(counts) * joules_per_operation(net, net.graph.by_name[name])
        counted, cached = (joules / samples).tolist()
        return Exits(
            joined(share, self._answers, (samples,), first=self._first),
            joined(share, self._steps, (samples,), first=self._first),
            right / labelled if labelled else None,
            counted,
            cached,
            -float(share.least(torch.tensor(-self._seconds, dtype=torch.float64))),
        )


class _Leaving:
    """One batch while its images leave: `steps` (B,) is 0 for those that are still there."""

    def __init__(self, program: Program, x: Tensor, ids: Tensor, margins: Margins) -> None:
        self._simulation = Simulation(program, x, ids=ids)
        self._needed = torch.tensor(margins.needed, dtype=torch.float64, device=x.device)
        self._rows = torch.arange(len(x), device=x.device)  # of the batch, that are simulated
        self.answers, self.steps = torch.zeros_like(self._rows), torch.zeros_like(self._rows)
        (classes,) = program.graph.shapes[program.graph.outputs[0]]
        self.outputs = torch.zeros(len(x), classes, dtype=program.dtype, device=x.device)
        self._moving: dict[str, float] = defaultdict(float)  # operations of all images
        self._fixed = {name: parts.pop() for name, parts in self._simulation.operations.items()}

    def run(self, *, compact: bool) -> None:
        """Run until no image is left."""
        for part in _pieces(self._simulation, len(self._needed)):
            self._settle(part, _advance(self._simulation, part))
            self._count(part)
            staying = (self.steps[self._rows] == 0).nonzero()[:, 0]
            if not len(staying):
                return
            if compact and len(staying) <= WORTH_KEEPING * len(self._rows):
                self._simulation.keep(staying)
                self._rows = self._rows[staying]

    def operations(self) -> Iterator[tuple[str, tuple[float, float]]]:
        """Per sender, operations of the batch: as sent, and with what never changes sent once."""
        for name, count in self._moving.items():
            yield name, (count, count)
        for name, counts in self._fixed.items():
            yield name, (float((counts[0] * self.steps).sum()), float(counts.sum()))

    def _settle(self, part: range, output: Tensor) -> None:
        """Note the first step of `part` at which an image may leave, and its answer there."""
        margin, answer = lead(output)
        settled = margin > self._needed[part.start : part.stop, None]
        if part.stop == len(self._needed):
            settled[-1] = True
        at = settled.int().argmax(0)
        leaves = (settled.any(0) & (self.steps[self._rows] == 0)).nonzero()[:, 0]
        where = self._rows[leaves]
        self.answers[where] = answer[at[leaves], leaves]
        self.outputs[where] = output[at[leaves], leaves].to(self.outputs.dtype)
        self.steps[where] = part.start + 1 + at[leaves]

    def _count(self, part: range) -> None:
        """Add the operations of `part`, of each image only up to the step at which it leaves."""
        number = torch.arange(part.start + 1, part.stop + 1, device=self._rows.device)[:, None]
        last = self.steps[self._rows]
        ran = (last == 0) | (number <= last)
        for name, parts in self._simulation.operations.items():
            self._moving[name] += sum(float((counts * ran).sum()) for counts in parts)
            parts.clear()
        for parts in self._simulation.spikes.values():
            parts.clear()  # nobody asks, and they would grow with the steps


def _advance(simulation: Simulation, part: range) -> Tensor:
    (output,) = simulation.advance(part)
    if not bool(output.isfinite().all()):
        raise SimulationError("the output of the spiking network is not finite")
    return output


def _pieces(simulation: Simulation, steps: int) -> Iterator[range]:
    """Chunks short enough that an image is not simulated for long after it has settled."""
    longest = 1 << max(0, (steps // 8).bit_length() - 1)  # compiled loops like powers of two
    for part in simulation.chunks(steps):
        for begin in range(part.start, part.stop, longest):
            yield range(begin, min(begin + longest, part.stop))
