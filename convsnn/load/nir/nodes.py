"""What every node of NIR becomes in our graph, and what of it is refused, by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convsnn.errors import LoadError
from convsnn.graph import Node
from convsnn.graph.ops import OPS

REFUSED: Mapping[str, tuple[str, str]] = {
    "LIF": ("its leak is a time constant, and no time step is agreed on", "use IF neurons"),
    "CubaLIF": ("its leaks are time constants, and no time step is agreed on", "use IF neurons"),
    "LI": ("a leaky integrator would stay analog", "leave it out: the readout adds up the output"),
    "I": ("an integrator would stay analog", "leave it out: the readout adds up the output"),
    "Delay": ("its delay is in seconds, and no time step is agreed on", "leave it out"),
    "Threshold": ("a threshold without a potential is no neuron", "use IF neurons"),
    "NIRGraph": ("a graph inside the graph is not opened", "write its nodes into one graph"),
}


@dataclass(frozen=True)
class GivenSite:
    """The neurons of one IF node; threshold and potential broadcast to one sample's shape."""

    threshold: Tensor
    potential: Tensor
    reset: str
    strict: bool


@dataclass
class Building:
    """Our graph so far; `values` are values without storage, from which shapes are read."""

    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Tensor] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)  # a node of NIR -> its value here
    sites: dict[str, GivenSite] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)

    def emit(self, wanted: str, op: str, *inputs: str, **attrs: Any) -> str:
        """Append a node; LoadError, naming it, where it does not fit its input."""
        name, count = wanted, 0
        while name in self.values or name in self.tensors:
            count += 1
            name = f"{wanted}_{count}"
        given = [self.values[i] if i in self.values else self.tensors[i].to("meta") for i in inputs]
        try:
            value = OPS[op].run(*given, **attrs)
        except (RuntimeError, TypeError, IndexError, ValueError, KeyError) as error:
            first = str(error).partition("\n")[0]
            raise LoadError(f"node '{wanted}' does not fit its input: {first}") from None
        if min(value.shape[1:], default=1) < 1:
            raise LoadError(f"node '{wanted}' gives an empty value, {tuple(value.shape[1:])}")
        self.values[name] = value
        self.nodes.append(Node(name, op, inputs, attrs))
        return name

    def tensor(self, name: str, value: Tensor) -> str:
        """Enter a constant."""
        self.tensors[name] = value
        return name

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one sample of a value."""
        return tuple(self.values[name].shape[1:])

    def driven(self, name: str, sources: Sequence[str]) -> str:
        """What drives a node: the sum of all edges into it."""
        found = [self.names[source] for source in sources]
        total = found[0]
        for other in found[1:]:
            if self.shape(total) != self.shape(other):
                raise LoadError(
                    f"node '{name}': the edges into it carry {self.shape(total)} and "
                    f"{self.shape(other)}, which do not add up"
                )
            total = self.emit(f"{name}.sum", "add", total, other)
        return total


Builder = Callable[[Building, str, Mapping[str, Any], Sequence[str]], None]


def _array(name: str, node: Mapping[str, Any], key: str, *, dims: int | None = None) -> Tensor:
    """A field of numbers as float32."""
    if key not in node:
        raise LoadError(f"node '{name}' ({node['type']}) has no '{key}'")
    value = np.asarray(node[key])
    if value.dtype.kind not in "iuf":
        raise LoadError(f"node '{name}': its {key} is {value.dtype}, not numbers")
    if not np.isfinite(value).all():
        raise LoadError(f"node '{name}': its {key} holds values that are not finite")
    if dims is not None and value.ndim != dims:
        raise LoadError(f"node '{name}': its {key} has {value.ndim} axes, not {dims}")
    return torch.from_numpy(value.astype(np.float32))


def _whole(name: str, node: Mapping[str, Any], key: str, count: int, least: int) -> list[int]:
    """A field of `count` whole numbers, or of one for all axes."""
    if key not in node:
        raise LoadError(f"node '{name}' ({node['type']}) has no '{key}'")
    value = np.asarray(node[key]).reshape(-1)
    if value.dtype.kind not in "iu" or len(value) not in (1, count) or int(value.min()) < least:
        raise LoadError(
            f"node '{name}': its {key} is {node[key]!r}, not {count} whole number(s) of at least "
            f"{least}"
        )
    found = [int(v) for v in value]
    return found * count if len(found) == 1 else found


def _input(building: Building, name: str, node: Mapping[str, Any], sources: Sequence[str]) -> None:
    if sources:
        raise LoadError(f"the input '{name}' is driven by {', '.join(sources)}")
    if "shape" not in node:
        raise LoadError(f"the input '{name}' does not say its shape")
    shape = _whole(name, node, "shape", int(np.asarray(node["shape"]).size), 1)
    building.nodes.append(Node(name, "input", (), {"shape": shape}))
    building.values[name] = torch.empty(2, *shape, device="meta")
    building.names[name] = name
    building.inputs.append(name)


def _output(building: Building, name: str, node: Mapping[str, Any], sources: Sequence[str]) -> None:
    del node
    building.outputs.append(building.driven(name, sources))
    building.names[name] = building.outputs[-1]


def _affine(building: Building, name: str, node: Mapping[str, Any], sources: Sequence[str]) -> None:
    weight = building.tensor(f"{name}.weight", _array(name, node, "weight", dims=2))
    rest = []
    if node["type"] == "Affine":
        rest = [building.tensor(f"{name}.bias", _array(name, node, "bias", dims=1))]
    x = building.driven(name, sources)
    building.names[name] = building.emit(name, "linear", x, weight, *rest)


def _conv(axes: int) -> Builder:
    def build(
        building: Building, name: str, node: Mapping[str, Any], sources: Sequence[str]
    ) -> None:
        weight = _array(name, node, "weight", dims=axes + 2)
        bias = building.tensor(f"{name}.bias", _array(name, node, "bias", dims=1))
        stride, dilation = (_whole(name, node, key, axes, 1) for key in ("stride", "dilation"))
        padding = _padding(name, node, list(weight.shape[2:]), stride, dilation)
        groups = _whole(name, node, "groups", 1, 1)[0]
        x = building.driven(name, sources)
        held = building.tensor(f"{name}.weight", weight)
        building.names[name] = building.emit(
            name, "conv", x, held, bias, stride=stride, padding=padding, dilation=dilation,
            groups=groups,
        )  # fmt: skip

    return build


def _padding(
    name: str, node: Mapping[str, Any], kernel: list[int], stride: list[int], dilation: list[int]
) -> list[int]:
    """Begins and ends; of the words, `valid` is none and `same` keeps the size."""
    given = node.get("padding")
    if not isinstance(given, str):
        return _whole(name, node, "padding", len(kernel), 0) * 2
    if given == "valid":
        return [0] * (2 * len(kernel))
    if given != "same" or set(stride) != {1}:
        raise LoadError(
            f"node '{name}': padding '{given}' is neither valid, nor same with a stride of 1"
        )
    whole = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    return [n // 2 for n in whole] + [n - n // 2 for n in whole]


def _pool(building: Building, name: str, node: Mapping[str, Any], sources: Sequence[str]) -> None:
    kernel, stride = (_whole(name, node, key, 2, 1) for key in ("kernel_size", "stride"))
    padding = _whole(name, node, "padding", 2, 0)
    x = building.driven(name, sources)
    value = building.emit(name, "avg_pool", x, kernel=kernel, stride=stride, padding=padding * 2)
    if node["type"] == "SumPool2d":
        rank = len(building.shape(value)) + 1
        size = torch.full((1,) * rank, float(prod(kernel)))
        factor = building.tensor(f"{name}.size", size)
        value = building.emit(f"{name}.sum", "scale", value, factor)
    building.names[name] = value


def _flatten(
    building: Building, name: str, node: Mapping[str, Any], sources: Sequence[str]
) -> None:
    x = building.driven(name, sources)
    shape = building.shape(x)
    first = _axis(name, node, "start_dim", len(shape), 1)
    last = _axis(name, node, "end_dim", len(shape), -1)
    if last < first:
        raise LoadError(f"node '{name}': it flattens from axis {first} to {last}")
    flat = [*shape[:first], prod(shape[first : last + 1]), *shape[last + 1 :]]
    building.names[name] = building.emit(name, "reshape", x, shape=flat)


def _axis(name: str, node: Mapping[str, Any], key: str, rank: int, usual: int) -> int:
    value = np.asarray(node.get(key, usual))
    if value.dtype.kind not in "iu" or value.size != 1 or not -rank <= int(value) < rank:
        raise LoadError(f"node '{name}': its {key} is {node.get(key)!r}, of {rank} axes")
    return int(value) % rank


def _scale(building: Building, name: str, node: Mapping[str, Any], sources: Sequence[str]) -> None:
    x = building.driven(name, sources)
    factor = _fitting(name, "scale", _array(name, node, "scale"), building.shape(x))
    held = building.tensor(f"{name}.scale", factor[None])
    building.names[name] = building.emit(name, "scale", x, held)


def _fitting(name: str, key: str, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A parameter that has the shape of a sample, or one value for all of it."""
    if value.numel() == 1:
        return value.reshape((1,) * len(shape))
    if tuple(value.shape) != shape:
        raise LoadError(
            f"node '{name}': its {key} of shape {tuple(value.shape)} does not fit {shape}"
        )
    return value


def _if(building: Building, name: str, node: Mapping[str, Any], sources: Sequence[str]) -> None:
    x = building.driven(name, sources)
    shape = building.shape(x)
    threshold = _fitting(name, "v_threshold", _array(name, node, "v_threshold"), shape)
    if not bool((threshold > 0).all()):
        raise LoadError(f"node '{name}': a v_threshold of {float(threshold.min()):g} never resets")
    resistance = _fitting(name, "r", _array(name, node, "r"), shape)
    if not bool((resistance == 1).all()):
        held = building.tensor(f"{name}.r", resistance[None])
        x = building.emit(f"{name}.current", "scale", x, held)
    about = node.get("metadata", {})
    if not isinstance(about, dict):
        raise LoadError(f"node '{name}': its metadata is no dictionary")
    layer = about.get("layer")
    site = building.emit(layer if isinstance(layer, str) and layer else name, "relu", x)
    start = torch.zeros(())
    if "v_init" in about:
        held_start = _array(name, {**about, "type": node["type"]}, "v_init")
        start = _fitting(name, "v_init", held_start, shape)
    strict = about.get("fires") != "at"
    building.sites[site] = GivenSite(threshold, start, _reset(name, node, about), strict)
    building.names[name] = site


def _reset(name: str, node: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    said = about.get("reset")
    if said is not None:
        if said not in ("subtract", "zero"):
            raise LoadError(f"node '{name}': its reset is {said!r}, not subtract or zero")
        return "soft" if said == "subtract" else "zero"
    if "v_reset" not in node:
        return "soft"
    if bool(_array(name, node, "v_reset").any()):
        raise LoadError(
            f"node '{name}': it resets to a potential other than 0",
            hint="write the network with v_reset = 0",
        )
    return "zero"


BUILDERS: Mapping[str, Builder] = {
    "Input": _input,
    "Output": _output,
    "Affine": _affine,
    "Linear": _affine,
    "Conv1d": _conv(1),
    "Conv2d": _conv(2),
    "SumPool2d": _pool,
    "AvgPool2d": _pool,
    "Flatten": _flatten,
    "Scale": _scale,
    "IF": _if,
}
