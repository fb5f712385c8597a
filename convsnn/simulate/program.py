"""A spiking network made ready to run: weights folded, rounded and packed, neurons laid out.

Every site runs as one fused loop (`SiteProgram`) or is left to its neuron's own `scan`; every layer
with weights gets a kernel in the engine's precision. Made once for many batches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from convsnn.encoders import Encoder
from convsnn.graph import Node
from convsnn.graph.fan_out import is_weighted
from convsnn.graph.ops import OPS, Role
from convsnn.neurons.fused import Compilable, Fusable, compiler
from convsnn.simulate import weighted
from convsnn.simulate.counts import Counter
from convsnn.simulate.dense import Kernel
from convsnn.simulate.engine import Engine
from convsnn.simulate.site import Current, SiteProgram, build_site
from convsnn.simulate.trains import train_carriers
from convsnn.simulate.units import fold, narrow, passed_unit
from convsnn.spiking.network import Spiking

AVERAGES = ("avg_pool", "adaptive_avg_pool", "mean")


class Program:
    """`net` made ready for `engine`.

    `units`: what one is worth of the values passed as numbers of spikes, by node; `kernels`: what
    runs a layer with weights on (N, ...); `sites`: the fused neurons; `absorbed`: sums that a site
    adds up itself; `bytes`: nodes that pass numbers of spikes as uint8; `folded`: layers whose
    weights hold the unit of their input; `ends`: the values that are accumulated over time;
    `largest`: elements of the largest value; `carriers`: what passes on spike trains as they
    are where layers fire one after another.
    """

    def __init__(
        self, net: Spiking, engine: Engine | None = None, *, encoder: Encoder | None = None
    ) -> None:
        self.net, self.graph, self.engine = net, net.body, engine or Engine()
        self.by_layers = net.schedule == "layers"
        self.carriers = train_carriers(net)
        self.encoder = encoder or net.encoder
        self.fused = self.engine.fused and not self.by_layers and compiler() is None
        roles = {Role.ACTIVATION} if self.encoder.constant else {Role.ACTIVATION, Role.INPUT}
        self.moving = net.graph.behind(roles)
        self.tail = self.graph.behind([Role.READOUT])  # applied to the accumulated answer
        read = {i for node in self.graph.nodes if node.name in self.tail for i in node.inputs}
        self.ends = ({*self.graph.outputs} | read) - self.tail - self.graph.tensors.keys()
        self.largest = max(1, *(torch.Size(s).numel() for s in self.graph.shapes.values()))
        self.order = {name: number for number, name in enumerate(net.graph.sites, 1)}
        self.units: dict[str, Tensor] = {}
        self.kernels: dict[str, Kernel] = {}
        self.sites: dict[str, SiteProgram] = {}
        self.absorbed: set[str] = set()
        self.bytes: set[str] = set()
        self.folded: set[str] = set()
        self._counters: dict[str, Counter] = {}
        self.dtype = next((t.dtype for t in self.graph.tensors.values()), torch.float32)
        fusable = {name: self._fusable(name) for name in net.graph.sites}
        terms = {name: self._terms(name) for name, f in fusable.items() if f is not None}
        later = {term for found in terms.values() for term in found if self._is_own_layer(term)}
        for node in self.graph.nodes:
            made = fusable.get(node.name)
            if made is not None:
                self._enter_site(node, made, terms[node.name])
            elif is_weighted(node) and node.name not in later:
                weight, bias, is_bytes = self._layer(node)
                self.kernels[node.name] = weighted.kernel(
                    node,
                    weight,
                    bias,
                    engine=self._engine(node.name),
                    is_bytes=is_bytes,
                    shape=self._shape_for(node),
                )
            elif node.name in self.moving and node.role is not Role.ACTIVATION:
                self._pass_on(node)
        # what each node reads, and how often what changes over time is read
        self.sources = {node.name: self._sources(node) for node in self.graph.nodes}
        self.readers = {node.name: 0 for node in self.graph.nodes}
        for node in self.graph.nodes:
            if node.name in self.moving and node.name not in self.absorbed:
                for name in self.sources[node.name]:
                    self.readers[name] += 1

    def apply(self, node: Node, values: Mapping[str, Tensor]) -> Tensor:
        """Run an op on (N, ...) values."""
        run = self.kernels.get(node.name)
        if run is not None:
            return run(values[self.sources[node.name][0]])
        tensors = self.graph.tensors
        arguments = [tensors[i] if i in tensors else values[i] for i in node.inputs]
        return OPS[node.op].run(*arguments, **node.attrs)

    def counter(self, node: Node) -> Counter | None:
        """What counts the events of a node that sends or fires; None for any other."""
        fan_out = self.net.fan_out.get(node.name)
        if fan_out is None and node.role is not Role.ACTIVATION:
            return None
        if node.name not in self._counters:
            shape = self.graph.shapes[node.name]
            site = self.sites.get(node.name)
            once = site is not None and site.unit is not None and not site.fusable.signed
            once = once and self.net.neurons[node.name].spikes_per_step == 1
            self._counters[node.name] = Counter(shape, fan_out, once=once)
        return self._counters[node.name]

    def _sources(self, node: Node) -> tuple[str, ...]:
        if node.name in self.sites:
            return tuple(dict.fromkeys(self.sites[node.name].terms))
        return tuple(dict.fromkeys(self.graph.data_inputs(node)))

    def _fusable(self, name: str) -> Fusable | None:
        neuron = self.net.neurons[name]
        if self.by_layers or not self.engine.in_units or not isinstance(neuron, Compilable):
            return None
        return neuron.fusable()

    def _engine(self, name: str) -> Engine:
        """What runs a layer; a current that is the same at every step is worth full precision."""
        if name in self.moving:
            return self.engine
        return replace(self.engine, precision="float32", weight_bits=self.engine.bits)

    def _shape_for(self, node: Node) -> Sequence[int] | None:
        """The samples that a layer is packed for; None where its op is the reference."""
        source = self.graph.data_inputs(node)[0]
        return self.graph.shapes[source] if self.engine.in_units else None

    def _is_read_once(self, name: str) -> bool:
        return len(self.graph.consumers[name]) == 1 and name not in self.graph.outputs

    def _is_own_layer(self, name: str) -> bool:
        return is_weighted(self.graph.by_name[name]) and self._is_read_once(name)

    def _terms(self, site: str) -> tuple[str, ...]:
        """The values that add up to the current of a site."""
        source = self.graph.by_name[self.graph.by_name[site].inputs[0]]
        if source.op == "add" and self._is_read_once(source.name):
            self.absorbed.add(source.name)
            return self.graph.data_inputs(source)
        return (source.name,)

    def _layer(self, node: Node) -> tuple[Tensor, Tensor | None, bool]:
        """Weight, with the unit of the input taken in where it can be, bias, and whether the input
        is uint8."""
        weight, *rest = (self.graph.tensors[name] for name in node.inputs[1:])
        source = self.graph.data_inputs(node)[0]
        unit = self.units.get(source)
        folded = None if unit is None else fold(node, weight, unit)
        bias = rest[0] if rest else None
        if folded is None:
            return weight, bias, False
        self.folded.add(node.name)
        return folded, bias, source in self.bytes

    def _enter_site(self, node: Node, fusable: Fusable, terms: tuple[str, ...]) -> None:
        currents = []
        for name in terms:
            term = self.graph.by_name[name]
            layer = self._layer(term) if self._is_own_layer(name) else None
            unit = None if layer else self.units.get(name)
            currents.append(Current(term, self._engine(name), layer, unit))
        made, kernels = build_site(
            self.graph,
            node,
            fusable,
            currents,
            planned=self.net.plan.sites[node.name],
            engine=self.engine,
            most=self.net.neurons[node.name].spikes_per_step,
        )
        self.sites[node.name] = made
        self.kernels.update(kernels)
        if made.unit is not None:
            self.units[node.name] = narrow(made.unit, self.graph.shapes[node.name])
            if made.dtype is torch.uint8:
                self.bytes.add(node.name)

    def _pass_on(self, node: Node) -> None:
        unit = passed_unit(self.graph, node, self.units)
        if unit is not None:
            self.units[node.name] = unit
            if self.bytes.issuperset(self.graph.data_inputs(node)) and node.op not in AVERAGES:
                self.bytes.add(node.name)
