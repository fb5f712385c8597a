"""Runs a spiking network for T time steps, in chunks, with all state held as plain values.

What depends on the input alone is computed once where the encoder is constant. Layers without
state run a whole chunk at once, (Tc x B, ...), which is exact because the network is feed-forward.
Max-pooling keeps the running sum of its input, pools that, and passes on the difference to the
step before, so that the sum of what it passed on is at every step the pool of the summed input
(for windows that do not overlap: LIPool, Li and Zeng 2022, section 4.2).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from convsnn.encoders import Encoder
from convsnn.errors import ConfigError, SimulationError
from convsnn.graph import Node
from convsnn.neurons import Keys
from convsnn.ops import OPS, Role
from convsnn.readout import READOUTS, Readout
from convsnn.rewrite import Spiking

CHUNK_ELEMENTS = 1 << 22  # of the largest layer, over the steps and samples run at once

Observer = Callable[[Node, range, Tensor], None]


@dataclass(frozen=True)
class Run:
    """What came out of a simulation.

    `outputs`: per network output (T, B, ...), the mean of the output up to each step (weighted as
    the network's `readout` says), softmax and its like applied to that mean. `spikes` and
    `synaptic_operations`: per sending layer (T, B), events and events times fan-out at each step;
    what the input alone decides is listed at every step.
    """

    outputs: tuple[Tensor, ...]
    spikes: Mapping[str, Tensor]
    synaptic_operations: Mapping[str, Tensor]


@dataclass
class _Loop:
    """The values that live through the time loop of one batch."""

    net: Spiking
    x: Tensor
    ids: Tensor
    encoder: Encoder
    observe: Observer | None
    fixed: dict[str, Tensor] = field(default_factory=dict)  # (B, ...), the same at every step
    state: dict[str, object] = field(default_factory=dict)
    total: dict[str, Tensor] = field(default_factory=dict)  # accumulated readout, (B, ...)
    spikes: dict[str, list[Tensor]] = field(default_factory=dict)
    operations: dict[str, list[Tensor]] = field(default_factory=dict)


def simulate(
    net: Spiking,
    x: Tensor,
    *,
    steps: int,
    encoder: Encoder | None = None,
    ids: Tensor | None = None,
    chunk: int | None = None,
    observe: Observer | None = None,
) -> Run:
    """Run `net` on images `x` (B, *input shape) for `steps` time steps.

    `ids` (B,) are the samples' numbers, which random encoders key their draws by; `chunk` bounds
    the steps run at once and changes memory only; `observe(node, steps, values)` sees what every
    node that sends or fires put out, (len(steps), B, ...). Raises ConfigError for steps < 1 or a
    wrong shape, SimulationError where an image or the output is not finite.
    """
    if steps < 1:
        raise ConfigError(f"timesteps must be at least 1, not {steps}")
    shape = tuple(net.graph.input.attrs["shape"])
    if tuple(x.shape[1:]) != shape or len(x) == 0:
        raise ConfigError(f"the network takes inputs (B, {shape}), not {tuple(x.shape)}")
    if not bool(x.isfinite().all()):  # neurons would stay silent and hide it
        raise SimulationError("an image is not finite")
    ids = torch.arange(len(x), device=x.device) if ids is None else ids.to(x.device)
    if ids.shape != (len(x),):
        raise ConfigError(f"{len(x)} samples need {len(x)} numbers, not {tuple(ids.shape)}")
    if chunk is not None and chunk < 1:
        raise ConfigError(f"a chunk has at least 1 step, not {chunk}")
    loop = _Loop(net, x, ids, encoder or net.encoder, observe)
    moving = _moving(loop)
    size = chunk or _chunk(net, len(x))
    outputs = []
    with torch.no_grad():
        _run_fixed(loop, moving)
        for first in range(0, steps, size):
            outputs.append(_run_chunk(loop, moving, range(first, min(first + size, steps))))
    joined = tuple(torch.cat(parts) for parts in zip(*outputs, strict=True))
    if not all(bool(part.isfinite().all()) for part in joined):
        raise SimulationError("the output of the spiking network is not finite")
    return Run(
        joined,
        {name: torch.cat(parts) for name, parts in loop.spikes.items()},
        {name: torch.cat(parts) for name, parts in loop.operations.items()},
    )


def _chunk(net: Spiking, batch: int) -> int:
    largest = max(torch.Size(shape).numel() for shape in net.graph.shapes.values())
    return max(1, CHUNK_ELEMENTS // max(1, largest * batch))


def _moving(loop: _Loop) -> frozenset[str]:
    """The nodes whose value changes from step to step."""
    roles = {Role.ACTIVATION} if loop.encoder.constant else {Role.ACTIVATION, Role.INPUT}
    return loop.net.graph.behind(roles)


def _arguments(loop: _Loop, node: Node, values: Mapping[str, Tensor]) -> list[Tensor]:
    tensors = loop.net.body.tensors
    return [tensors[name] if name in tensors else values[name] for name in node.inputs]


def _run_fixed(loop: _Loop, moving: frozenset[str]) -> None:
    """Compute once whatever does not change over time."""
    graph = loop.net.body
    later = moving | graph.behind([Role.READOUT])
    needed = {i for n in graph.nodes if n.name in later for i in n.inputs} | set(graph.outputs)
    for node in graph.nodes:
        if node.name in moving:
            continue
        if node.role is Role.INPUT:
            loop.fixed[node.name] = loop.encoder.encode(loop.x, loop.ids, range(1))[0]
        else:
            loop.fixed[node.name] = OPS[node.op].run(
                *_arguments(loop, node, loop.fixed), **node.attrs
            )
        _note(loop, node, range(1), loop.fixed[node.name][None])
    loop.fixed = {name: value for name, value in loop.fixed.items() if name in needed}


def _run_chunk(loop: _Loop, moving: frozenset[str], steps: range) -> list[Tensor]:
    """Run `steps`; returns the mean of every accumulated output up to each of them."""
    graph = loop.net.body
    tail = graph.behind([Role.READOUT])
    read_by_tail = {i for n in graph.nodes if n.name in tail for i in n.inputs}
    ends = {*(o for o in graph.outputs if o not in tail)} | {
        i for i in read_by_tail if i not in tail and i not in graph.tensors
    }
    left = {n.name: sum(r.name in moving for r in graph.consumers[n.name]) for n in graph.nodes}
    values = {name: value.expand(len(steps), *value.shape) for name, value in loop.fixed.items()}
    for node in graph.nodes:
        if node.name in tail or node.name not in moving:
            continue
        values[node.name] = _step(loop, node, values, steps)
        _note(loop, node, steps, values[node.name])
        for name in dict.fromkeys(graph.data_inputs(node)):
            left[name] -= 1
            if left[name] == 0 and name not in ends:
                del values[name]
    means = {name: _accumulate(loop, name, values[name], steps) for name in ends}
    for node in graph.nodes:
        if node.name in tail:
            means[node.name] = _merged(loop, node, means)
    return [means[name] for name in graph.outputs]


def _step(loop: _Loop, node: Node, values: Mapping[str, Tensor], steps: range) -> Tensor:
    if node.role is Role.INPUT:
        return loop.encoder.encode(loop.x, loop.ids, steps)
    if node.role is Role.ACTIVATION:
        return _fire(loop, node, values[node.inputs[0]])
    if node.role is Role.MAX_POOL and not node.attrs.get("each_step"):
        return _pool_sum(loop, node, values[node.inputs[0]])
    return _merged(loop, node, values)


def _fire(loop: _Loop, node: Node, currents: Tensor) -> Tensor:
    """Run the neurons of a site on the currents of a chunk."""
    shift = loop.net.plan.sites[node.name].shift
    if shift is not None:
        currents = currents + shift
    site = list(loop.net.graph.sites).index(node.name) + 1  # 0 is the input encoder's
    out, loop.state[node.name] = loop.net.neurons[node.name].scan(
        currents, loop.state.get(node.name), keys=Keys(loop.ids, site)
    )
    return out


def _merged(loop: _Loop, node: Node, values: Mapping[str, Tensor]) -> Tensor:
    """Run an op without state on all steps of the chunk at once."""
    tensors = loop.net.body.tensors
    arguments = [
        tensors[name] if name in tensors else values[name].flatten(0, 1) for name in node.inputs
    ]
    steps = len(values[loop.net.graph.data_inputs(node)[0]])
    return OPS[node.op].run(*arguments, **node.attrs).unflatten(0, (steps, -1))


def _pool_sum(loop: _Loop, node: Node, x: Tensor) -> Tensor:
    """Pool the running sum of the input and pass on the difference to the last step."""
    before = loop.state.get(node.name)
    summed = x.cumsum(0)
    if isinstance(before, tuple):
        summed = summed + before[0]
    pooled = OPS[node.op].run(summed.flatten(0, 1), **node.attrs).unflatten(0, (len(x), -1))
    last = before[1] if isinstance(before, tuple) else torch.zeros_like(pooled[0])
    loop.state[node.name] = (summed[-1], pooled[-1])
    return torch.diff(pooled, dim=0, prepend=last[None])


def _accumulate(loop: _Loop, name: str, value: Tensor, steps: range) -> Tensor:
    readout = READOUTS.create(loop.net.readout)
    weights, total = readout.weights(steps, value)
    mean = _running_sum(loop, name, value * weights) / total.clamp(min=1)
    if not readout.delay:
        return mean
    _, count = Readout().weights(steps, value)
    return torch.where(total > 0, mean, _running_sum(loop, f"{name} so far", value) / count)


def _running_sum(loop: _Loop, name: str, value: Tensor) -> Tensor:
    summed = value.cumsum(0)
    if name in loop.total:
        summed = summed + loop.total[name]
    loop.total[name] = summed[-1]
    return summed


def _note(loop: _Loop, node: Node, steps: range, value: Tensor) -> None:
    """Count events and synaptic operations of a node that sends or fires."""
    fan_out = loop.net.fan_out.get(node.name)
    if fan_out is None and node.role is not Role.ACTIVATION:
        return
    if loop.observe is not None:
        loop.observe(node, steps, value)
    events = (value != 0).flatten(2)
    loop.spikes.setdefault(node.name, []).append(events.sum(2))
    if fan_out is not None:
        weight = fan_out.to(value.device).flatten()
        exact = float(weight.sum()) < 2**24  # below that float32 counts without rounding
        weight = weight.float() if exact else weight
        loop.operations.setdefault(node.name, []).append(
            (events.to(weight.dtype) @ weight).double()
        )
