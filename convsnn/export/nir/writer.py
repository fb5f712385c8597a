"""Our graph as nodes and edges of NIR, every spike worth 1; what cannot be said exactly is named.

Thresholds are folded away: with threshold th of the neurons behind a layer and th' of those before,

    w <- w th' / th      b <- (b + shift) / th      v_threshold = 1, r = 1

so that a reader has nothing to scale. A layer that several read keeps its weights, and the neurons
behind it their thresholds, unless something else is summed there.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from convsnn.export.nir.host import Cut, cut_behind_input_layer
from convsnn.export.nir.potential import Initial, start_of
from convsnn.export.nir.refusal import (
    CHANNEL,
    Refusal,
    Unsayable,
    Written,
    fires_of,
    require_steps,
    reset_of,
)
from convsnn.export.nir.values import Tap, Value, as_matrix, channelwise, per_channel
from convsnn.graph import Node
from convsnn.graph.ops import Role
from convsnn.neurons.lif import LeakyIntegrateAndFire
from convsnn.simulate.units import fold
from convsnn.spiking.network import Spiking

Place = Literal["node", "host"]
_PASSING = ("add", "identity", "add_constant")


class GraphWriter:
    """Writes `net`; the result is `written`, good where nothing in it is refused.

    `initial` says what becomes of initial potentials: refused, spread over `timesteps` as a bias,
    or kept in the metadata for readers who know it. `place` says where the input layer is: in the
    graph as its leading node, or on the host.
    """

    def __init__(
        self, net: Spiking, *, timesteps: int | None, initial: Initial, place: Place = "node"
    ) -> None:
        require_steps(net)
        self.net, self.graph = net, net.body
        self.timesteps, self.initial = timesteps, initial
        self.cut = cut_behind_input_layer(self.graph) if place == "host" else None
        self.written = Written()
        self.values: dict[str, Value] = {}
        self._units = {name: self._unit(name) for name in self.graph.sites}

    def run(self, lower: Mapping[str, Callable[["GraphWriter", Node], Value]]) -> Written:
        """Write every node; `lower` are the ops that are neither neurons nor input."""
        tail = self.graph.behind([Role.READOUT])
        if self.cut is not None:
            self._begin_behind(self.cut)
        for node in self.graph.nodes:
            if self.cut is not None and node.name in self.cut.kept:
                continue
            missing = [n for n in self.graph.data_inputs(node) if n not in self.values]
            if node.name in tail or missing:
                continue  # stays on the host; or follows what was refused
            try:
                if node.role is Role.INPUT:
                    self.values[node.name] = self._input(node)
                elif node.role is Role.ACTIVATION:
                    self.values[node.name] = self._fire(node)
                else:
                    self.values[node.name] = lower.get(node.op, _unknown)(self, node)
            except Unsayable as error:
                refusal = Refusal(f"{node.name} ({node.op})", error.reason, error.remedy)
                self.written.refused.append(refusal)
                self._go_on_behind(node)
        self._finish(tail)
        return self.written

    def shape(self, node: Node, place: int = 0) -> tuple[int, ...]:
        """Shape of one sample of an input of `node`."""
        return self.graph.shapes[self.graph.data_inputs(node)[place]]

    def add(self, wanted: str, kind: str, sources: Sequence[str], **fields: Any) -> str:
        """Append a node and the edges into it; returns its name."""
        plain = re.sub(r"\W", "_", wanted) or "node"
        name, count = plain, 0
        while name in self.written.nodes:
            count += 1
            name = f"{plain}_{count}"
        self.written.nodes[name] = (kind, fields)
        self.written.edges += [(source, name) for source in sources]
        return name

    def plain(self, node: Node, place: int = 0) -> Tap:
        """An input of `node` as one NIR node without bias, written where it is not yet one."""
        name = self.graph.data_inputs(node)[place]
        value = self.values[name]
        if len(value.taps) == 1 and value.taps[0].is_plain and value.bias is None:
            return value.taps[0]
        shape = self.graph.shapes[name]
        one = torch.ones((), dtype=value.taps[0].unit.dtype)
        sources = self._drive(value, name, shape, one)
        if len(sources) > 1:
            raise Unsayable(
                "it reads a sum that no neurons stand behind",
                "put an activation behind the sum in the network",
            )
        return Tap(sources[0], one)

    def mapped(self, tap: Tap, name: str, shape: Sequence[int], unit: Tensor) -> str:
        """A tap as a node of its own, in `unit`: a convolution of size 1, or a matrix."""
        channels = self._channels(tap, shape)
        matrix = as_matrix(tap, channels) / per_channel(unit, shape[0]).reshape(-1, 1)
        bias = torch.zeros(len(matrix), dtype=matrix.dtype)
        if len(shape) == 1:
            return self.add(
                f"{name}_scaled", "Affine", [tap.source], weight=matrix, bias=bias, sends=shape
            )
        axes = len(shape) - 1
        if axes > 2:
            raise Unsayable("NIR has no layers of three spatial axes", "use 1-d or 2-d images")
        return self.add(
            f"{name}_scaled", f"Conv{axes}d", [tap.source],
            weight=matrix.reshape(*matrix.shape, *[1] * axes), bias=bias,
            input_shape=self.sent_shape(tap.source)[1:], stride=[tap.stride] * axes,
            padding=[0] * axes, dilation=[1] * axes, groups=1, sends=tuple(shape),
        )  # fmt: skip

    def sent_shape(self, name: str) -> tuple[int, ...]:
        """The shape of what a written node sends."""
        shape: tuple[int, ...] = tuple(self.written.nodes[name][1]["sends"])
        return shape

    def _channels(self, tap: Tap, shape: Sequence[int]) -> int:
        return shape[0] if tap.matrix is None else tap.matrix.shape[1]

    def weighted(self, node: Node, kind: str, **fields: Any) -> Value:
        """A layer with weights on every tap of its input, its own bias on the first."""
        weight, *rest = (self.graph.tensors[name] for name in node.inputs[1:])
        value, before = self.values[node.inputs[0]], self.shape(node)
        after = self.graph.shapes[node.name]
        unit, owned = self._unit_behind(node)
        bias = rest[0] if rest else torch.zeros(after[0], dtype=weight.dtype)
        if value.bias is not None:
            raise Unsayable("a constant is added in front of it", "fold it into the layer's bias")
        taps = []
        for tap in value.taps:
            if not tap.is_plain:
                one = torch.ones((), dtype=weight.dtype)
                tap = Tap(self.mapped(tap, f"{node.name}_in", before, one), one)
            folded = fold(node, weight, tap.unit)
            if folded is None:
                raise Unsayable("its inputs have scales that its weights cannot take in", CHANNEL)
            scale = per_channel(unit, after[0])
            held = folded / scale.reshape(-1, *[1] * (weight.dim() - 1))
            name = self.add(
                node.name, kind, [tap.source], weight=held, bias=bias / scale, sends=after, **fields
            )
            taps.append(Tap(name, unit, owned=owned))
            bias = torch.zeros_like(bias)
        return Value(tuple(taps))

    def _unit_behind(self, node: Node) -> tuple[Tensor, bool]:
        """The threshold of the only neurons that a layer drives, through sums alone, and whether
        there are such."""
        one = torch.ones((), dtype=self.graph.weight(node).dtype)
        while True:
            behind = self.graph.consumers[node.name]
            if len(behind) != 1 or node.name in self.graph.outputs:
                return one, False
            node = behind[0]
            if node.role is Role.ACTIVATION:
                unit = self._units[node.name]
                return (one, False) if unit is None else (unit, True)
            if node.op not in _PASSING:
                return one, False

    def _unit(self, site: str) -> Tensor | None:
        return channelwise(self.net.plan.sites[site].threshold, self.graph.shapes[site])

    def _begin_behind(self, cut: Cut) -> None:
        """Let the spikes of the neurons that the host keeps be the input."""
        shape, unit = self.graph.shapes[cut.site], self._units[cut.site]
        name = self.add("input", "Input", [], shape=shape, sends=shape)
        try:
            reset_of(self.net.neurons[cut.site])  # as elsewhere: spikes of one size
            if unit is None:
                raise Unsayable("its thresholds differ within a channel", CHANNEL)
        except Unsayable as error:
            self.written.refused.append(Refusal(cut.site, error.reason, error.remedy))
        sent = torch.ones(()) if unit is None else self._sent(cut.site, unit)
        self.values[cut.site] = Value((Tap(name, sent),))
        self.written.shown = (
            f"spikes of '{cut.site}', 0 or 1 at every step; the host keeps {', '.join(cut.kept)}"
        )

    def _sent(self, site: str, unit: Tensor) -> Tensor:
        """What a spike of a site is worth."""
        neuron = self.net.neurons[site]
        sends_one = isinstance(neuron, LeakyIntegrateAndFire) and neuron.sends == "one"
        return torch.ones_like(unit) if sends_one else unit

    def _input(self, node: Node) -> Value:
        shape = tuple(node.attrs["shape"])
        name = self.add("input", "Input", [], shape=shape, sends=shape)
        sequence = self.net.encoder.steps is not None
        what = "a frame of the sequence" if sequence else "the preprocessed image"
        self.written.shown = f"current: {what} at every step"
        dtype = next((t.dtype for t in self.graph.tensors.values()), torch.float32)
        return Value((Tap(name, torch.ones((), dtype=dtype)),))

    def _fire(self, node: Node) -> Value:
        neuron, planned = self.net.neurons[node.name], self.net.plan.sites[node.name]
        reset = reset_of(neuron)
        shape, unit = self.graph.shapes[node.name], self._units[node.name]
        if unit is None:
            raise Unsayable("its thresholds differ within a channel", CHANNEL)
        value = self.values[node.inputs[0]]
        if planned.timed_bias is not None:
            raise Unsayable("its bias changes from step to step", "calibrate without ftbc")
        if planned.shift is not None:
            shift = channelwise(planned.shift, shape)
            if shift is None:
                raise Unsayable("its bias shift differs within a channel", "calibrate without it")
            value = value.plus(shift)
        start = start_of(planned.potential, shape, initial=self.initial, timesteps=self.timesteps)
        if start is not None and self.initial == "bias":
            value, start = value.plus(start / (self.timesteps or 1)), None
        kept = all(t.is_plain and not t.owned and bool((t.unit == 1).all()) for t in value.taps)
        held = torch.ones_like(unit) if kept and value.bias is None else unit
        sources = self._drive(value, node.name, shape, held)
        about: dict[str, Any] = {"reset": reset, "fires": fires_of(neuron), "layer": node.name}
        if start is not None:
            about["v_init"] = (start / held).expand(shape).contiguous()
        name = self.add(
            node.name, "IF", sources, v_threshold=(unit / held).expand(shape).contiguous(),
            metadata=about, sends=shape,
        )  # fmt: skip
        return Value((Tap(name, self._sent(node.name, unit)),))

    def _drive(self, value: Value, name: str, shape: Sequence[int], unit: Tensor) -> list[str]:
        """The nodes that drive `name` with a value, in its unit. A bias goes into a layer that
        nothing else reads, of its own where there is none."""
        sources, place = [], None
        for number, tap in enumerate(value.taps):
            same = tap.is_plain and bool((tap.unit == unit).all())
            free = (tap.owned and same) or not same
            last = number == len(value.taps) - 1 and place is None
            if value.bias is not None and last and not free:
                same, free = False, True
            sources.append(tap.source if same else self.mapped(tap, name, shape, unit))
            place = number if place is None and free else place
        if value.bias is not None and place is not None:
            fields = self.written.nodes[sources[place]][1]
            fields["bias"] = fields["bias"] + per_channel(value.bias / unit, shape[0])
        return sources

    def _go_on_behind(self, node: Node) -> None:
        """Let what stands behind a refused layer be looked at too."""
        shape = self.graph.shapes[node.name]
        name = self.add(node.name, "Refused", [], sends=shape, bias=torch.zeros(shape[:1]))
        self.values[node.name] = Value((Tap(name, torch.ones(())),))

    def _finish(self, tail: frozenset[str]) -> None:
        ends = [n for n in self.graph.outputs if n not in tail]
        for node in self.graph.nodes:
            if node.name in tail:
                self.written.remarks.append(
                    f"'{node.name}' ({node.op}) stays on the host: apply it to the mean answer"
                )
                ends += [n for n in self.graph.data_inputs(node) if n not in (*tail, *ends)]
        for name in ends:
            if name not in self.values:
                continue
            value, shape = self.values[name], self.graph.shapes[name]
            one = torch.ones((), dtype=value.taps[0].unit.dtype)
            try:
                self.add("output", "Output", self._drive(value, name, shape, one), shape=shape)
            except Unsayable as error:
                self.written.refused.append(Refusal(name, error.reason, error.remedy))


def _unknown(writer: GraphWriter, node: Node) -> Value:
    del writer
    remedies = {
        "max_pool": "use average pooling, which becomes sum-pooling with rescaled weights",
        "upsample": "use a convolution in its place",
    }
    raise Unsayable(
        f"NIR has no {node.op}", remedies.get(node.op, "export to ONNX, which can say it")
    )
