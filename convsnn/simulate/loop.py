"""The time loop of one batch, in chunks of steps, with all state held as plain values.

What depends on the input alone is computed once where the encoder is constant. Layers without
state run a whole chunk at once, (Tc x B, ...), which is exact because the network is feed-forward.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from convsnn.errors import ConfigError, SimulationError
from convsnn.graph import Node
from convsnn.graph.ops import OPS, Role
from convsnn.graph.ops.base import SMOOTH
from convsnn.neurons import Keys
from convsnn.neurons.fused import scan
from convsnn.readouts import READOUTS
from convsnn.readouts.accumulate import accumulate
from convsnn.simulate import pool
from convsnn.simulate.changes import Changes
from convsnn.simulate.difference import difference
from convsnn.simulate.program import AVERAGES, Program
from convsnn.simulate.site import SiteProgram
from convsnn.simulate.weighted import channels_last

CHUNK_ELEMENTS = 1 << 22  # of the largest layer, over the steps and samples run at once
FUSED_ELEMENTS = 1 << 21  # the same for compiled loops, which gain from what stays in the cache
LONGEST_FUSED = 8  # steps unrolled into one compiled loop
FEWEST = 8  # samples below which small layers are all overhead

Observer = Callable[[Node, range, Tensor], None]


def require_inputs(x: Tensor, source: Node, *, frames: int | None = None) -> None:
    """ConfigError unless `x` (B, *input shape), or (B, frames, *input shape), is what the input
    node takes; SimulationError where it is not finite."""
    shape = tuple(source.attrs["shape"])
    shape = shape if frames is None else (frames, *shape)
    if tuple(x.shape[1:]) != shape or len(x) == 0:
        raise ConfigError(f"the network takes inputs (B, {shape}), not {tuple(x.shape)}")
    if not torch.compiler.is_compiling() and not bool(x.isfinite().all()):
        raise SimulationError("an image is not finite")  # neurons would stay silent and hide it


def numbers(x: Tensor, ids: Tensor | None) -> Tensor:
    """The numbers of the samples `x`: `ids`, or their order; ConfigError where these do not fit."""
    ids = torch.arange(len(x), device=x.device) if ids is None else ids.to(x.device)
    if ids.shape != (len(x),):
        raise ConfigError(f"{len(x)} samples need {len(x)} numbers, not {tuple(ids.shape)}")
    return ids


def images_at_once(program: Program) -> int:
    """Samples that a compiled loop runs fastest on: as many as let it run its longest chunk."""
    if not program.fused:
        return 1 << 62
    return max(FEWEST, FUSED_ELEMENTS // (LONGEST_FUSED * program.largest))


@dataclass
class _Fused:
    """State of a fused population of `batch` samples, (B * P, M) each."""

    tensors: tuple[Tensor, ...]
    batch: int

    def keep(self, rows: Tensor) -> "_Fused":
        """The state of some samples."""
        parts = (part.unflatten(0, (self.batch, -1))[rows].flatten(0, 1) for part in self.tensors)
        return _Fused(tuple(parts), len(rows))


class Simulation:
    """The values that live through the time loop of one batch `x` (B, *input shape), or of
    sequences (B, steps, *input shape) where the encoder takes these.

    `advance` runs further steps, `keep` goes on with some of the samples only. `spikes` and
    `operations` collect, per sending layer, counts (Tc, B) of every chunk.
    """

    def __init__(
        self,
        program: Program,
        x: Tensor,
        *,
        ids: Tensor | None = None,
        observe: Observer | None = None,
        count: bool = True,
    ) -> None:
        if program.by_layers:
            raise ConfigError(
                "a network that fires layer by layer has no answer before its last step",
                hint="run it to that step, or use --schedule steps",
            )
        require_inputs(x, program.graph.input, frames=program.encoder.steps)
        self.program, self.x, self.ids = program, channels_last(x), numbers(x, ids)
        self.observe, self.count = observe, count
        self.spikes: dict[str, list[Tensor]] = {}
        self.operations: dict[str, list[Tensor]] = {}
        self._fixed: dict[str, Tensor] = {}  # (B, ...), the same at every step
        self._state: dict[str, Any] = {}
        self._total: dict[str, dict[str, Tensor]] = {}  # of the readout, (B, ...), by output
        watched = count or observe is not None
        self._changes = Changes(program) if program.net.differential and watched else None
        with torch.no_grad():
            self._run_fixed()

    def chunks(self, steps: int, longest: int | None = None, *, first: int = 0) -> Iterator[range]:
        """The steps from `first` up to `steps`, in chunks that fit into memory."""
        size = longest or self._chunk()
        while first < steps:
            length = min(size, steps - first)
            if self.program.fused and longest is None:  # few lengths, for each is compiled
                length = 1 << (min(length, LONGEST_FUSED).bit_length() - 1)
            yield range(first, first + length)
            first += length

    def _chunk(self) -> int:
        limit = FUSED_ELEMENTS if self.program.fused else CHUNK_ELEMENTS
        return max(1, limit // (self.program.largest * len(self.x)))

    def advance(self, steps: range) -> list[Tensor]:
        """Run `steps`, which follow those run before; the answer of every output up to each of
        them, (len(steps), B, ...)."""
        readout, means = READOUTS.create(self.program.net.readout), dict[str, Tensor]()
        for name, value in self.ends(steps).items():
            before = self._total.get(name, {})
            means[name], self._total[name] = accumulate(readout, value, steps, before)
        return self.answers(means)

    def state(self, name: str) -> Any:
        """What the neurons of the site `name` hold after the last step: see `Neuron.scan`."""
        return self._state[name]

    def keep(self, rows: Tensor) -> None:
        """Go on with the samples `rows` (indices) only."""
        self.x, self.ids = self.x[rows], self.ids[rows]
        self._fixed = {name: value[rows] for name, value in self._fixed.items()}
        self._total = {
            name: {key: value[rows] for key, value in sums.items()}
            for name, sums in self._total.items()
        }
        self._state = {name: _picked(state, rows) for name, state in self._state.items()}

    def _run_fixed(self) -> None:
        """Compute once whatever does not change over time."""
        program, graph = self.program, self.program.graph
        later = program.moving | program.tail
        needed = {i for n in graph.nodes if n.name in later for i in n.inputs} | set(graph.outputs)
        for node in graph.nodes:
            if node.name in program.moving:
                continue
            if node.role is Role.INPUT:
                encoded = program.encoder.encode(self.x, self.ids, range(1))[0]
                self._fixed[node.name] = channels_last(encoded)
            else:
                self._fixed[node.name] = self.program.apply(node, self._fixed)
            self._note(node, range(1), self._fixed[node.name][None])
        self._fixed = {name: value for name, value in self._fixed.items() if name in needed}

    @torch.no_grad()
    def ends(self, steps: range) -> dict[str, Tensor]:
        """The same without a readout: what the ends give at each of `steps`."""
        program, graph, tail = self.program, self.program.graph, self.program.tail
        left = dict(program.readers)
        values = {k: value.expand(len(steps), *value.shape) for k, value in self._fixed.items()}
        for node in graph.nodes:
            if node.name in tail or node.name not in program.moving:
                continue
            if node.name in program.absorbed:
                continue
            values[node.name] = self._step(node, values, steps)
            self._note(node, steps, values[node.name])
            for name in program.sources[node.name]:
                left[name] -= 1
                if left[name] == 0 and name not in program.ends:
                    del values[name]
        # sums over many steps need more than 8 bits
        return {name: self._real(name, values).to(program.dtype) for name in program.ends}

    @torch.no_grad()
    def answers(self, means: Mapping[str, Tensor]) -> list[Tensor]:
        """The answer of every output, from the means (Tc, B, ...) of what the ends give."""
        values = dict(means)
        for node in self.program.graph.nodes:
            if node.name in self.program.tail:
                values[node.name] = self._answer(node, values)
        return [values[name] for name in self.program.graph.outputs]

    def _step(self, node: Node, values: Mapping[str, Tensor], steps: range) -> Tensor:
        if node.role is Role.INPUT:
            return self.program.encoder.encode(self.x, self.ids, steps)
        if node.role is Role.ACTIVATION:
            site = self.program.sites.get(node.name)
            if site is not None:
                return self._fire_fused(node.name, site, values, steps)
            return self._fire(node, self._real(node.inputs[0], values), steps)
        if node.role is Role.MAX_POOL and not node.attrs.get("each_step"):
            value, self._state[node.name] = pool.sum_pool(
                node, values[node.inputs[0]], self._state.get(node.name), fused=self.program.fused
            )
            return value
        if node.role in SMOOTH:
            inputs = [self._real(i, values) for i in node.inputs]
            value, self._state[node.name] = difference(
                partial(OPS[node.op].run, **node.attrs),
                inputs,
                self._state.get(node.name),
                steps,
            )
            return value
        return self._merged(node, values)

    def _fire(self, node: Node, currents: Tensor, steps: range) -> Tensor:
        """Run the neurons of a site on the currents of a chunk."""
        net = self.program.net
        currents = net.plan.sites[node.name].driven(currents, steps)
        keys = Keys(self.ids, self.program.order[node.name])  # 0 is the input encoder's
        neuron = net.neurons[node.name]
        scan = neuron.scan if self._changes is None else self._changes.scan(node.name, neuron)
        out, self._state[node.name] = scan(currents, self._state.get(node.name), keys=keys)
        return out

    def _fire_fused(
        self, name: str, site: SiteProgram, values: Mapping[str, Tensor], steps: range
    ) -> Tensor:
        batch = len(self.x)
        state = self._state.get(name)
        if state is None:
            rest = site.fusable.state
            state = _Fused(tuple(site.layout.start(part, batch) for part in rest), batch)
        terms = [site.layout.flat(values[term]) for term in site.terms]
        sent, after = scan(
            site.fusable,
            terms,
            site.scales,
            site.shift_at(steps),
            state.tensors,
            first=steps.start,
            parameters=site.parameters,
            dtype=site.dtype,
            fused=self.program.fused,
        )
        self._state[name] = _Fused(after, batch)
        return site.layout.back(sent, batch)

    def _real(self, name: str, values: Mapping[str, Tensor]) -> Tensor:
        """The value of a node in units of the source network's activations."""
        unit = self.program.units.get(name)
        return values[name] if unit is None else values[name] * unit

    def _merged(self, node: Node, values: Mapping[str, Tensor]) -> Tensor:
        """Run an op without state on all steps of the chunk at once."""
        sources = self.program.sources[node.name]
        in_units = node.name in self.program.units or node.name in self.program.folded
        given = {name: values[name] if in_units else self._real(name, values) for name in sources}
        kinds = {value.dtype for value in given.values()}
        if node.name in self.program.units and (len(kinds) > 1 or node.op in AVERAGES):
            given = {name: value.to(self.program.dtype) for name, value in given.items()}
        return self._answer(node, given)

    def _answer(self, node: Node, values: Mapping[str, Tensor]) -> Tensor:
        sources = self.program.sources[node.name]
        merged = {name: values[name].flatten(0, 1) for name in sources}
        steps = len(values[sources[0]])
        return self.program.apply(node, merged).unflatten(0, (steps, -1))

    def _note(self, node: Node, steps: range, value: Tensor) -> None:
        """Count events and synaptic operations of a node that sends or fires."""
        if not self.count and self.observe is None:
            return
        if self._changes is not None:
            value = self._changes.sent(node, value, self._fixed)
        counter = self.program.counter(node)
        if counter is None:
            return
        if self.observe is not None:
            raw = getattr(self.observe, "raw", False)  # it takes spikes in any unit
            self.observe(node, steps, value if raw else self._real(node.name, {node.name: value}))
        if self.count:
            events, operations = counter(value)
            self.spikes.setdefault(node.name, []).append(events)
            if operations is not None:
                self.operations.setdefault(node.name, []).append(operations)


def _picked(state: Any, rows: Tensor) -> Any:
    """The state of some samples of a site or a pool."""
    if isinstance(state, _Fused):
        return state.keep(rows)
    if isinstance(state, tuple):
        return tuple(part[rows] for part in state)
    dims = state.potential.dim()  # whatever has fewer is the same for every sample
    tensors = {k: v for k, v in vars(state).items() if isinstance(v, Tensor) and v.dim() == dims}
    return replace(state, **{name: value[rows] for name, value in tensors.items()})
