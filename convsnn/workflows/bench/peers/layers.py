"""A graph as plain torch layers under torch.fx, which is what other packages convert.

Layers have their usual modules (Conv2d, ReLU, MaxPool2d, ...), and activations stay ReLUs. Strided
slices and zero channels, which the peers refuse, become the one 1x1 convolution that does the same.
"""

import operator
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, fx, nn

from convsnn.errors import Blocker, UnsupportedError
from convsnn.graph import Graph, Node
from convsnn.graph.ops import OPS
from convsnn.graph.ops.weighted import split_padding
from convsnn.passes import relative_gap
from convsnn.simulate.units import fold, narrow, passed_unit

_CONV: Mapping[int, Callable[..., nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_MAX: Mapping[int, Callable[..., nn.Module]] = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
_AVG: Mapping[int, Callable[..., nn.Module]] = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
_ADAPTIVE: Mapping[int, Callable[..., nn.Module]] = {
    1: nn.AdaptiveAvgPool1d,
    2: nn.AdaptiveAvgPool2d,
    3: nn.AdaptiveAvgPool3d,
}
_PICKS = ("slice", "pad")


class Times(nn.Module):
    """Multiplies by a constant that broadcasts to one sample."""

    factor: Tensor

    def __init__(self, factor: Tensor) -> None:
        super().__init__()
        self.register_buffer("factor", factor)

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, ...)."""
        return x * self.factor


def as_module(graph: Graph, *, units: Mapping[str, Tensor] | None = None) -> fx.GraphModule:
    """The network as a module in eval mode, with its only output.

    With `units`, thresholds by site, activations are taken to send numbers of spikes, each worth
    its threshold: weights take the thresholds in where they can, other places multiply. Raises
    UnsupportedError for what has no layer of this form.
    """
    if len(graph.outputs) != 1:
        raise UnsupportedError(f"a network with {len(graph.outputs)} outputs is not compared")
    return _Builder(graph, dict(units or {})).build()


class _Builder:
    """Layers are named by op and position, for a peer finds them by their place in the order."""

    def __init__(self, graph: Graph, thresholds: dict[str, Tensor]) -> None:
        self.graph, self.thresholds = graph, thresholds
        self.root, self.code = nn.Module(), fx.Graph()
        self.values: dict[str, fx.Node] = {}
        self.units: dict[str, Tensor] = {}

    def build(self) -> fx.GraphModule:
        graph = self.graph
        needed = set(graph.outputs)
        for node in reversed(graph.nodes):
            if node.name in needed:
                needed.update(self._sources(node))
        for node in graph.nodes:
            if node.name in needed:
                self.values[node.name] = self._emit(node)
        self.code.output(self._real(graph.outputs[0]))
        return fx.GraphModule(self.root, self.code).eval()

    def _sources(self, node: Node) -> Sequence[str]:
        return (_origin(self.graph, node),) if node.op in _PICKS else self.graph.data_inputs(node)

    def _call(self, module: nn.Module, *values: fx.Node) -> fx.Node:
        name = f"{type(module).__name__.lower()}_{len(list(self.root.children()))}"
        self.root.add_module(name, module)
        return self.code.call_module(name, values)

    def _real(self, name: str) -> fx.Node:
        """The value of a node, numbers of spikes times what they are worth."""
        unit = self.units.get(name)
        return self.values[name] if unit is None else self._call(Times(unit), self.values[name])

    def _emit(self, node: Node) -> fx.Node:
        op, sources = node.op, self._sources(node)
        if op == "input":
            return self.code.placeholder("x")
        if op in ("conv", "linear"):
            return self._weighted(node)
        if op == "relu":
            if node.name in self.thresholds:
                shape = self.graph.shapes[node.name]
                self.units[node.name] = narrow(self.thresholds[node.name], shape)
            return self._call(nn.ReLU(), self._real(sources[0]))
        if op == "add":
            return self.code.call_function(operator.add, tuple(map(self._real, sources)))
        if op == "concat":
            parts = [self._real(name) for name in sources]
            return self.code.call_function(torch.cat, (parts,), {"dim": node.attrs["dim"]})
        module = self._plain(node)
        unit = self._passed(node)
        if unit is not None:
            self.units[node.name] = unit
            return self._call(module, self.values[sources[0]])
        return self._call(module, self._real(sources[0]))

    def _passed(self, node: Node) -> Tensor | None:
        if node.op in _PICKS:
            unit = self.units.get(_origin(self.graph, node))
            return unit if unit is not None and unit.dim() == 0 else None
        return passed_unit(self.graph, node, self.units)

    def _weighted(self, node: Node) -> fx.Node:
        weight, *rest = (self.graph.tensors[name] for name in node.inputs[1:])
        (source,) = self.graph.data_inputs(node)
        unit = self.units.get(source)
        folded = None if unit is None else fold(node, weight, unit)
        value = self._real(source) if folded is None else self.values[source]
        weight = weight if folded is None else folded
        module = _linear(weight) if node.op == "linear" else _convolution(node, weight)
        module.weight = nn.Parameter(weight.clone())
        if rest:
            module.bias = nn.Parameter(rest[0].clone())
        return self._call(module, value)

    def _plain(self, node: Node) -> nn.Module:
        """The layer of an op without weights."""
        attrs, shape = node.attrs, self.graph.shapes
        rank = len(shape[self._sources(node)[0]]) - 1
        if node.op in _PICKS:
            return _picking(self.graph, node)
        if node.op == "reshape" and len(attrs["shape"]) == 1:
            return nn.Flatten()
        if node.op == "identity":
            return nn.Identity()
        if node.op == "adaptive_avg_pool":
            return _ADAPTIVE[rank](attrs["size"])
        if node.op == "mean" and sorted(attrs["dims"]) == list(range(2, rank + 2)):
            pool = _ADAPTIVE[rank](1)
            return pool if attrs.get("keepdim") else nn.Sequential(pool, nn.Flatten())
        if node.op not in ("max_pool", "avg_pool") or split_padding(attrs["padding"])[1]:
            raise _refused(node, "there is no such layer among those the peers convert")
        kernel, stride = tuple(attrs["kernel"]), tuple(attrs["stride"])
        padding, ceil = tuple(split_padding(attrs["padding"])[0]), attrs.get("ceil_mode", False)
        if node.op == "max_pool":
            return _MAX[rank](kernel, stride, padding, tuple(attrs["dilation"]), ceil_mode=ceil)
        return _AVG[rank](kernel, stride, padding, ceil, attrs.get("count_include_pad", True))


def _refused(node: Node, reason: str) -> UnsupportedError:
    blocker = Blocker(node.name, node.op, reason, source=node.source)
    return UnsupportedError(f"layer '{node.name}' ({node.op}): {reason}", [blocker])


def _linear(weight: Tensor) -> nn.Module:
    return nn.Linear(weight.shape[1], weight.shape[0], bias=False).to(weight)


def _convolution(node: Node, weight: Tensor) -> nn.Module:
    symmetric, pads = split_padding(node.attrs["padding"])
    if pads is not None:
        raise _refused(node, "its padding differs from side to side")
    attrs, groups = node.attrs, node.attrs.get("groups", 1)
    return _CONV[weight.dim() - 2](
        weight.shape[1] * groups,
        weight.shape[0],
        tuple(weight.shape[2:]),
        tuple(attrs["stride"]),
        tuple(symmetric),
        tuple(attrs["dilation"]),
        groups,
        bias=False,
    ).to(weight)


def _origin(graph: Graph, node: Node) -> str:
    """What a chain of slices and paddings that ends at `node` starts from."""
    while node.op in _PICKS:
        node = graph.by_name[graph.data_inputs(node)[0]]
    return node.name


def _picking(graph: Graph, node: Node) -> nn.Module:
    """The 1x1 convolution that does what the chain of slices and paddings up to `node` does."""
    origin = _origin(graph, node)
    before, after = graph.shapes[origin], graph.shapes[node.name]
    if len(before) != 3 or len(after) != 3:
        raise _refused(node, "slices and paddings are converted for images only")
    numbers = torch.arange(1.0, before[0] + 1).reshape(1, -1, 1, 1).expand(1, *before)
    order = _chain(graph, node, origin, numbers)[0, :, 0, 0].long()
    stride = (-(-before[1] // after[1]), -(-before[2] // after[2]))
    made = nn.Conv2d(before[0], after[0], 1, stride, bias=False)
    rows = torch.arange(after[0])[order > 0]
    with torch.no_grad():
        made.weight.zero_()
        made.weight[rows, order[order > 0] - 1] = 1.0
        x = torch.rand(2, *before)
        got, wanted = made(x), _chain(graph, node, origin, x)
    if relative_gap(got, wanted) > 1e-6:
        raise _refused(node, "what it picks is more than every n-th position and channels")
    return made.to(next(iter(graph.tensors.values())))


def _chain(graph: Graph, node: Node, origin: str, x: Tensor) -> Tensor:
    if node.name == origin:
        return x
    source = graph.by_name[graph.data_inputs(node)[0]]
    out: Tensor = OPS[node.op].run(_chain(graph, source, origin, x), **node.attrs)
    return out
