"""Collects the nodes and tensors of a graph that a loader is reading, under unique names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor

from convsnn.graph import Graph, Node
from convsnn.graph.ops.pieces import REASONS
from convsnn.passes import join_pieces
from convsnn.passes.smooth import settle_smooth

RETRAIN = "retrain the network with ReLU in its place"
GUARD = 1e-4  # a lower bound above zero and below this guards a division: it is no rectifier
RECURRENT = (
    "it is recurrent: what it gives depends on what it gave before",
    "replace it by attention or convolutions; sequences over time are not converted",
)
RANDOM = (
    "it draws at random",
    "take the random part out, or make what it draws a constant of the module",
)
FACTOR = "write a bound for each channel as a factor: clamp(x / bound, 0, 1) * bound"


def _same_memory(a: Tensor, b: Tensor) -> bool:
    same_form = (a.shape, a.stride(), a.dtype) == (b.shape, b.stride(), b.dtype)
    return same_form and a.data_ptr() == b.data_ptr()


@dataclass
class Builder:
    """The graph so far. `layer` and `source` name the user's layer that is being read."""

    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    layer: str = ""
    source: str = ""
    _taken: set[str] = field(default_factory=set)
    _sources: dict[str, Tensor] = field(default_factory=dict)  # what constants were copied from

    def unique(self, wanted: str) -> str:
        """`wanted`, or `wanted_1`, `wanted_2`, ... where it is taken; taken from now on."""
        name, count = wanted, 0
        while name in self._taken or name in self.tensors:
            count += 1
            name = f"{wanted}_{count}"
        self._taken.add(name)
        return name

    def emit(self, op: str, *inputs: str, **attrs: Any) -> str:
        """Append a node of the current layer; returns its name."""
        name = self.unique(self.layer or op)
        self.nodes.append(Node(name, op, inputs, attrs, self.source))
        return name

    def constant(self, value: Tensor, name: str, *, copy: bool = True) -> str:
        """Enter a constant under `name`, once, as float32 whatever its type; a copy, unless the
        value is the caller's to give away."""
        source = self._sources.get(name)
        if source is not None and _same_memory(source, value):
            return name
        name = self.unique(name)
        self._sources[name] = value
        self.tensors[name] = value.detach().to(torch.float32, copy=copy)
        return name

    def opaque(
        self, *inputs: str, kind: str, reason: str, remedy: str, shape: Sequence[int]
    ) -> str:
        """Append an op that cannot be converted, so that all of them are named at once."""
        return self.emit(
            "opaque", *inputs, kind=kind, reason=reason, remedy=remedy, shape=list(shape)
        )

    def piece(
        self,
        op: str,
        *inputs: str,
        kind: str,
        detail: str = "",
        remedy: str = RETRAIN,
        **attrs: Any,
    ) -> str:
        """Append a piece of an activation, which blocks unless a pass finds the whole."""
        said = self.blocking(op, kind=kind, detail=detail, remedy=remedy)
        return self.emit(op, *inputs, **attrs, **said)

    @staticmethod
    def blocking(op: str, *, kind: str, detail: str, remedy: str) -> dict[str, str]:
        """What a piece says of itself where it blocks."""
        reason = f"{detail}: {REASONS[op]}" if detail else REASONS[op]
        return {"kind": kind, "reason": reason, "remedy": remedy}

    def is_op(self, name: str, op: str) -> bool:
        """Whether the node `name` was made by `op`."""
        return any(node.name == name and node.op == op for node in self.nodes)

    def finish(self, outputs: Sequence[str]) -> Graph:
        """The graph with only the nodes and tensors that the outputs need, and the activations
        among them put together."""
        needed = set(outputs)
        for node in reversed(self.nodes):
            if node.name in needed:
                needed.update(node.inputs)
        nodes = tuple(n for n in self.nodes if n.name in needed or n.op == "input")
        tensors: Mapping[str, Tensor] = {k: v for k, v in self.tensors.items() if k in needed}
        return settle_smooth(join_pieces(Graph(nodes, tensors, tuple(outputs))))


def layer_name(path: str, kind: str, op: str) -> str:
    """What an op is called: the module's path where it is one of torch's own layers, of class
    `kind`, and `path.op` where it stands in the forward method of the user's module."""
    leaf = kind.startswith("torch.nn.modules.") and "container" not in kind
    if leaf and path:
        return path
    return f"{path}.{op}" if path else op


def pixel_shuffle(builder: Builder, x: str, shape: Sequence[int], factor: int) -> str:
    """(C * factor^2, H, W) to (C, H * factor, W * factor), as torch orders it."""
    channels, height, width = shape
    out = channels // factor**2
    x = builder.emit("reshape", x, shape=[out, factor, factor, height, width])
    x = builder.emit("permute", x, dims=[0, 1, 4, 2, 5, 3])
    return builder.emit("reshape", x, shape=[out, height * factor, width * factor])


def pixel_unshuffle(builder: Builder, x: str, shape: Sequence[int], factor: int) -> str:
    """(C, H * factor, W * factor) to (C * factor^2, H, W), as torch orders it."""
    channels, height, width = shape[0], shape[1] // factor, shape[2] // factor
    x = builder.emit("reshape", x, shape=[channels, height, factor, width, factor])
    x = builder.emit("permute", x, dims=[0, 1, 3, 5, 2, 4])
    return builder.emit("reshape", x, shape=[channels * factor**2, height, width])


def product(builder: Builder, x: str, shape: Sequence[int], factor: Tensor) -> str:
    """x (..., M, K) of sample shape `shape` times constant matrices (..., K, N) that broadcast to
    it: a fully connected layer, or a grouped convolution where the matrices differ."""
    inner, columns = factor.shape[-2:]
    name = f"{builder.layer}.weight"
    if factor.numel() == inner * columns:
        weight = builder.constant(factor.reshape(inner, columns).t().contiguous(), name)
        return builder.emit("linear", x, weight)
    *stack, rows, _ = shape
    groups, swap = prod(stack), [*range(len(shape) - 1), len(shape), len(shape) - 1]
    kernels = factor.expand(*stack, inner, columns).mT.reshape(groups * columns, inner, 1)
    weight = builder.constant(kernels.contiguous(), name)
    x = builder.emit("permute", x, dims=swap)
    x = builder.emit("reshape", x, shape=[groups * inner, rows])
    x = builder.emit("conv", x, weight, stride=[1], padding=[0, 0], dilation=[1], groups=groups)
    x = builder.emit("reshape", x, shape=[*stack, columns, rows])
    return builder.emit("permute", x, dims=swap)


def product_from_left(builder: Builder, factor: Tensor, x: str, shape: Sequence[int]) -> str:
    """Constant matrices (..., N, M) times x (..., M, K) of sample shape `shape`."""
    swap = [*range(len(shape) - 1), len(shape), len(shape) - 1]
    turned = builder.emit("permute", x, dims=swap)
    done = product(builder, turned, [*shape[:-2], shape[-1], shape[-2]], factor.mT)
    return builder.emit("permute", done, dims=swap)


def adaptive_average(builder: Builder, x: str, shape: Sequence[int], size: Sequence[int]) -> str:
    """Adaptive average pooling, as plain average pooling where the windows are equal."""
    spatial = shape[-len(size) :]
    if any(s % o for s, o in zip(spatial, size, strict=True)):
        return builder.emit("adaptive_avg_pool", x, size=list(size))
    kernel = [s // o for s, o in zip(spatial, size, strict=True)]
    return builder.emit(
        "avg_pool", x, kernel=kernel, stride=kernel, padding=[0] * (2 * len(kernel))
    )


def ranges(indices: Sequence[int]) -> list[range]:
    """Split into ascending ranges of constant step; a lone element is a range of one."""
    if isinstance(indices, range) and indices.step > 0:
        return [indices]
    runs: list[range] = []
    for index in indices:
        last = runs[-1] if runs else None
        step = index - last[-1] if last else 0
        if last and step > 0 and (len(last) == 1 or step == last.step):
            runs[-1] = range(last[0], index + 1, step)
        else:
            runs.append(range(index, index + 1))
    return runs or [range(0)]
