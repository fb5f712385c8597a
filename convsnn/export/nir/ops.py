"""How each op of our graph is said in NIR, as far as it can be."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from convsnn.export.nir.refusal import Unsayable
from convsnn.export.nir.values import Tap, Value, channelwise, chosen
from convsnn.export.nir.writer import GraphWriter
from convsnn.graph import Node

Lowering = Callable[[GraphWriter, Node], Value]

LOWER: dict[str, Lowering] = {}

_FIXED = "export to ONNX, which can say it"


def says(op: str) -> Callable[[Lowering], Lowering]:
    """Decorator: enter the lowering of an op."""

    def enter(lowering: Lowering) -> Lowering:
        LOWER[op] = lowering
        return lowering

    return enter


def _symmetric(padding: Sequence[int]) -> list[int]:
    half = len(padding) // 2
    if list(padding[:half]) != list(padding[half:]):
        raise Unsayable("its padding differs between both ends of an axis", _FIXED)
    return list(padding[:half])


@says("conv")
def _conv(writer: GraphWriter, node: Node) -> Value:
    a, shape = node.attrs, writer.shape(node)
    axes = len(shape) - 1
    if axes > 2:
        raise Unsayable("NIR has no convolution over three axes", _FIXED)
    return writer.weighted(
        node, f"Conv{axes}d", input_shape=shape[1:], stride=list(a["stride"]),
        padding=_symmetric(a["padding"]), dilation=list(a["dilation"]), groups=a.get("groups", 1),
    )  # fmt: skip


@says("linear")
def _linear(writer: GraphWriter, node: Node) -> Value:
    if len(writer.shape(node)) != 1:
        raise Unsayable("it runs along one axis of several", "flatten in front of it")
    return writer.weighted(node, "Affine")


@says("add")
def _add(writer: GraphWriter, node: Node) -> Value:
    values = [writer.values[name] for name in node.inputs]
    if any(writer.shape(node, place) != writer.graph.shapes[node.name] for place in range(2)):
        raise Unsayable("the sum repeats one of its parts along an axis", _FIXED)
    return Value.total(values)


@says("identity")
def _identity(writer: GraphWriter, node: Node) -> Value:
    return writer.values[node.inputs[0]]


@says("add_constant")
def _add_constant(writer: GraphWriter, node: Node) -> Value:
    constant = channelwise(writer.graph.tensors[node.inputs[1]][0], writer.graph.shapes[node.name])
    if constant is None:
        raise Unsayable("the constant differs within a channel", _FIXED)
    return writer.values[node.inputs[0]].plus(constant)


@says("scale")
def _scale(writer: GraphWriter, node: Node) -> Value:
    factor = channelwise(writer.graph.tensors[node.inputs[1]][0], writer.graph.shapes[node.name])
    if factor is None:
        raise Unsayable("the factor differs within a channel", _FIXED)
    return writer.values[node.inputs[0]].times(factor)


def _map_channels(writer: GraphWriter, node: Node, place: int, rows: torch.Tensor) -> Value:
    """An input of `node` with its channels mapped by `rows` (out, in)."""
    value, channels = writer.values[node.inputs[place]], writer.shape(node, place)[0]
    if value.bias is not None:
        raise Unsayable("a constant is added in front of it", "fold it into the layer's bias")
    taps = (chosen(tap, rows.to(tap.unit.dtype), channels) for tap in value.taps)
    return Value(tuple(taps))


@says("concat")
def _concat(writer: GraphWriter, node: Node) -> Value:
    if node.attrs["dim"] != 1:
        raise Unsayable("it joins along an axis that is not that of the channels", _FIXED)
    total, start, parts = writer.graph.shapes[node.name][0], 0, []
    for place in range(len(node.inputs)):
        channels = writer.shape(node, place)[0]
        rows = torch.eye(total)[:, start : start + channels]
        parts.append(_map_channels(writer, node, place, rows))
        start += channels
    return Value.total(parts)


@says("pad")
def _pad(writer: GraphWriter, node: Node) -> Value:
    shape, pads = writer.shape(node), list(node.attrs["pads"])
    spatial, channels = pads[: 2 * (len(shape) - 1)], pads[2 * (len(shape) - 1) :][:2]
    if any(spatial) or min(channels, default=0) < 0:
        raise Unsayable("it pads images in a layer of its own", "pad in the convolution")
    before, after = channels or (0, 0)
    rows = torch.nn.functional.pad(torch.eye(shape[0]), (0, 0, before, after))
    return _map_channels(writer, node, 0, rows)


@says("slice")
def _slice(writer: GraphWriter, node: Node) -> Value:
    a, shape = node.attrs, writer.shape(node)
    every = range(*slice(a["start"], a["stop"], a.get("step", 1)).indices(shape[a["dim"] - 1]))
    if a["dim"] == 1:
        return _map_channels(writer, node, 0, torch.eye(shape[0])[list(every)])
    return _thinned(writer, node, a["dim"], every)


def _thinned(writer: GraphWriter, node: Node, axis: int, every: range) -> Value:
    """Every n-th row or column, from the first: the stride of a convolution of size 1, which takes
    both at once, so the rows wait for the columns."""
    shape, after = writer.shape(node), writer.graph.shapes[node.name]
    before = -(-shape[axis - 1] // every.step)
    if every.start != 0 or len(every) != before or writer.values[node.inputs[0]].bias is not None:
        raise Unsayable("it cuts out a part of the image", _FIXED)
    value = writer.values[node.inputs[0]]
    if axis == 2 and len(after) == 3:
        behind = writer.graph.consumers[node.name]
        pair = [n for n in behind if n.op == "slice" and n.attrs["dim"] == 3]
        if len(behind) != 1 or not pair or pair[0].attrs.get("step", 1) != every.step:
            raise Unsayable("it takes every n-th row but not every n-th column", _FIXED)
        return value
    if axis == 3:
        first = writer.graph.by_name[node.inputs[0]]
        if first.op != "slice" or first.attrs["dim"] != 2:
            raise Unsayable("it takes every n-th column but not every n-th row", _FIXED)
    return Value(tuple(replace(t, stride=t.stride * every.step, owned=False) for t in value.taps))


@says("avg_pool")
def _avg_pool(writer: GraphWriter, node: Node) -> Value:
    a = node.attrs
    padding = _symmetric(a["padding"])
    if any(padding) and not a.get("count_include_pad", True):
        raise Unsayable("its means leave out the border", "pool without padding")
    before, kernel = writer.shape(node)[1:], a["kernel"]
    if len(kernel) != 2:
        raise Unsayable("NIR pools over two axes only", _FIXED)
    after = [
        (n + 2 * p - k) // s + 1
        for n, p, k, s in zip(before, padding, kernel, a["stride"], strict=True)
    ]
    if after != list(writer.graph.shapes[node.name][1:]):
        raise Unsayable("its windows reach over the border (ceil_mode)", "pool without ceil_mode")
    return _sum_pool(writer, node, list(kernel), list(a["stride"]), padding)


def _sum_pool(
    writer: GraphWriter, node: Node, kernel: list[int], stride: list[int], padding: list[int]
) -> Value:
    """A sum whose unit is divided by the size of the window."""
    tap, before = writer.plain(node), writer.shape(node)
    after = (
        before[0],
        *((n + 2 * p - k) // s + 1
          for n, p, k, s in zip(before[1:], padding, kernel, stride, strict=True)),
    )  # fmt: skip
    name = writer.add(
        node.name, "SumPool2d", [tap.source], kernel_size=kernel, stride=stride, padding=padding,
        sends=after,
    )  # fmt: skip
    return Value((Tap(name, tap.unit / (kernel[0] * kernel[1])),))


@says("mean")
def _mean(writer: GraphWriter, node: Node) -> Value:
    shape = writer.shape(node)
    if sorted(node.attrs["dims"]) != [2, 3] or len(shape) != 3:
        raise Unsayable("it averages over other axes than those of an image", _FIXED)
    kernel = list(shape[1:])
    value = _sum_pool(writer, node, kernel, kernel, [0, 0])
    return value if node.attrs.get("keepdim") else _flat(writer, node, value.taps[0])


@says("adaptive_avg_pool")
def _adaptive(writer: GraphWriter, node: Node) -> Value:
    shape, size = writer.shape(node), node.attrs["size"]
    if len(size) != 2 or any(n % s for n, s in zip(shape[1:], size, strict=True)):
        raise Unsayable("its windows differ in size", "pool in equal windows")
    kernel = [n // s for n, s in zip(shape[1:], size, strict=True)]
    return _sum_pool(writer, node, kernel, kernel, [0, 0])


@says("reshape")
def _reshape(writer: GraphWriter, node: Node) -> Value:
    before, after = writer.shape(node), writer.graph.shapes[node.name]
    if tuple(before) == tuple(after):
        return writer.values[node.inputs[0]]
    if len(after) != 1:
        raise Unsayable("it arranges values in another shape, and NIR only flattens", _FIXED)
    return _flat(writer, node, writer.plain(node))


def _flat(writer: GraphWriter, node: Node, tap: Tap) -> Value:
    shape = writer.sent_shape(tap.source)
    size = 1
    for n in shape:
        size *= n
    name = writer.add(
        f"{node.name}_flat" if node.op == "mean" else node.name, "Flatten", [tap.source],
        input_type=shape, start_dim=0, end_dim=-1, sends=(size,),
    )  # fmt: skip
    unit = tap.unit
    if unit.dim() > 0:
        unit = unit.expand(*shape).reshape(-1)
    return Value((Tap(name, unit),))
