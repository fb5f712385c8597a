"""One call that simulates a batch of images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convsnn.encoders import Encoder
from convsnn.errors import ConfigError, SimulationError
from convsnn.readouts import Readout
from convsnn.readouts.accumulate import accumulate
from convsnn.simulate.engine import Engine
from convsnn.simulate.layers import run_layers
from convsnn.simulate.loop import Observer, Simulation, images_at_once, numbers
from convsnn.simulate.program import Program
from convsnn.spiking.network import Spiking


@dataclass(frozen=True)
class Run:
    """What came out of a simulation.

    `outputs`: per network output (T, B, ...), the mean of the output up to each step (weighted as
    the network's `readout` says), softmax and its like applied to that mean. `spikes` and
    `synaptic_operations`: per sending layer (T, B), events and events times fan-out at each step;
    what the input alone decides is listed at every step.

    Of a network that fires layer by layer, whose only answer is the last, `at` are the numbers of
    steps that it was run to, each from the start: in the place of T stand these runs, and what is
    counted is all that was sent in each.
    """

    outputs: tuple[Tensor, ...]
    spikes: Mapping[str, Tensor]
    synaptic_operations: Mapping[str, Tensor]
    at: tuple[int, ...] = ()


def simulate(
    net: Spiking | Program,
    x: Tensor,
    *,
    steps: int,
    encoder: Encoder | None = None,
    ids: Tensor | None = None,
    chunk: int | None = None,
    observe: Observer | None = None,
    engine: Engine | None = None,
    count: bool = True,
    at: Sequence[int] | None = None,
) -> Run:
    """Run `net` on images `x` (B, *input shape) for `steps` time steps, or on sequences
    (B, frames, *input shape) where its encoder takes these.

    `ids` (B,) are the samples' numbers, which random encoders key their draws by; `chunk` bounds
    the steps run at once and changes memory only; `observe(node, steps, values)` sees what every
    node that sends or fires put out, (len(steps), B, ...), in differential form without the mean
    that is held already. A `Program` made once saves preparing
    the network for every batch; else `engine` says what is computed in. Without `count` nothing is
    counted, which is faster. A network that fires layer by layer is run to each number of steps in
    `at` (default: `steps` alone), see `Run`; any other is read out at every step. Raises
    ConfigError for steps < 1 or a wrong shape, SimulationError where an image or the output is not
    finite.
    """
    if steps < 1:
        raise ConfigError(f"timesteps must be at least 1, not {steps}")
    if chunk is not None and chunk < 1:
        raise ConfigError(f"a chunk has at least 1 step, not {chunk}")
    program = net if isinstance(net, Program) else Program(net, engine, encoder=encoder)
    if program.by_layers:
        return _by_layers(program, x, at or (steps,), ids=ids, observe=observe, count=count)
    together = len(x) if observe is not None or chunk is not None else images_at_once(program)
    if together < len(x):
        parts = zip(x.split(together), numbers(x, ids).split(together), strict=True)
        return _joined(
            [simulate(program, rows, steps=steps, ids=own, count=count) for rows, own in parts]
        )
    simulation = Simulation(program, x, ids=ids, observe=observe, count=count)
    outputs = [simulation.advance(part) for part in simulation.chunks(steps, chunk)]
    joined = tuple(torch.cat(parts) for parts in zip(*outputs, strict=True))
    _require_finite(joined)
    return Run(
        joined,
        {name: torch.cat(parts) for name, parts in simulation.spikes.items()},
        {name: torch.cat(parts) for name, parts in simulation.operations.items()},
    )


def read_out(
    program: Program, x: Tensor, *, steps: int, readouts: Sequence[Readout], ids: Tensor
) -> list[tuple[Tensor, ...]]:
    """The `outputs` of `simulate`, by each of `readouts` in the place of the network's own, which
    fires step by step: one run, of all images at once, is enough for all."""
    simulation, found = Simulation(program, x, ids=ids, count=False), []
    ends = [simulation.ends(part) for part in simulation.chunks(steps)]
    given = {name: torch.cat([part[name] for part in ends]) for name in ends[0]}
    for readout in readouts:
        means = {n: accumulate(readout, each, range(steps), {})[0] for n, each in given.items()}
        found.append(tuple(simulation.answers(means)))
        _require_finite(found[-1])
    return found


def _by_layers(
    program: Program,
    x: Tensor,
    at: Sequence[int],
    *,
    ids: Tensor | None,
    observe: Observer | None,
    count: bool,
) -> Run:
    outputs, spikes, operations = run_layers(
        program, x, at=at, ids=ids, observe=observe, count=count
    )
    _require_finite(outputs)
    return Run(tuple(outputs), spikes, operations, tuple(at))


def _require_finite(outputs: Sequence[Tensor]) -> None:
    if not all(bool(part.isfinite().all()) for part in outputs):
        raise SimulationError("the output of the spiking network is not finite")


def _joined(parts: Sequence[Run]) -> Run:
    """The runs of the parts of a batch as one."""
    first = parts[0]
    return Run(
        tuple(torch.cat(each, 1) for each in zip(*(p.outputs for p in parts), strict=True)),
        {name: torch.cat([p.spikes[name] for p in parts], 1) for name in first.spikes},
        {
            name: torch.cat([p.synaptic_operations[name] for p in parts], 1)
            for name in first.synaptic_operations
        },
    )
