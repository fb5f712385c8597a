"""Slice, Split, Gather, Concat, Tile and Pad: parts of a value, and values put together."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convsnn.load.onnx import folded
from convsnn.load.onnx.base import ONNX_OPS, WIDEST, Net
from convsnn.load.onnx.values import Blocked, Data, Ints, Value, as_constant, as_data, as_ints


@ONNX_OPS.register("Slice")
def slice_(
    net: Net, x: Value, starts: Ints, ends: Ints, axes: Ints = None, steps: Ints = None
) -> Data:
    """A range of each of some axes."""
    data = as_data(x)
    first, last = as_ints(starts, "start") or [], as_ints(ends, "end") or []
    along = as_ints(axes, "list of axes") or list(range(len(first)))
    strides = as_ints(steps, "step") or [1] * len(first)
    cuts = list(zip(first, last, along, strides, strict=True))
    if data.order is not None:
        return _cut(net, data, cuts)
    for start, stop, axis, step in cuts:
        place = net.axis(axis, len(data.shape) + 1)
        length = net.file_shape(data)[place]
        chosen = range(length)[slice(start, stop, step)]
        if chosen == range(length):
            continue
        data = net.take(data, net.sample_axis(place, data), chosen)
    return data


def _cut(net: Net, x: Data, cuts: Sequence[tuple[int, int, int, int]]) -> Data:
    """Ranges of axes of a value whose batch is not first in the file."""
    for start, stop, axis, step in cuts:
        place = net.axis(axis, len(net.file_shape(x)))
        length = net.file_shape(x)[place]
        chosen = range(length)[slice(start, stop, step)]
        if chosen == range(length):
            continue
        if x.windows:
            if place:
                raise x.mixed or net.mixed("it takes a part of what stands beside the batch")
            x = folded.picked(net, x, chosen, drop=False)
        else:
            plain, own = upright(net, x, place)
            order = x.order or ()
            x = net.moved(net.take(plain, own, chosen), order)
    return x


@ONNX_OPS.register("Split")
def split(
    net: Net, x: Value, split: Ints = None, *, axis: int = 0, num_outputs: int | None = None
) -> list[Data]:
    """Consecutive parts along an axis; equal ones where no sizes are given."""
    data = as_data(x)
    order = data.order
    if order is not None:
        plain, own = upright(net, data, axis)
        parts = _parts(net, plain, own, split, num_outputs)
        return [net.moved(part, order) for part in parts]
    return _parts(net, data, net.sample_axis(axis, data), split, num_outputs)


def _parts(net: Net, data: Data, axis: int, split: Ints, num_outputs: int | None) -> list[Data]:
    length, count = data.shape[axis - 1], num_outputs or len(net.outputs)
    size = -(-length // count)
    sizes = as_ints(split, "list of sizes") or [min(size, length - size * i) for i in range(count)]
    if sum(sizes) != length or min(sizes) < 0:
        raise net.error(f"cuts {length} into {sizes}")
    parts, start = [], 0
    for size, name in zip(sizes, net.outputs, strict=True):
        stop = start + size
        if name:
            parts.append(net.emit("slice", data, name=name, dim=axis, start=start, stop=stop))
        else:
            parts.append(data)  # nobody reads it
        start = stop
    return parts


@ONNX_OPS.register("Gather")
def gather(net: Net, x: Value, indices: Value, *, axis: int = 0) -> Data:
    """Elements of an axis by constant indices."""
    chosen = as_constant(indices, "list of indices").array
    data = as_data(x)
    if data.order is not None:
        return _gathered(net, data, axis, chosen)
    if data.mixed is not None:
        data, axis, chosen = _parted(net, data, axis, chosen)
    axis = net.sample_axis(axis, data)
    length = data.shape[axis - 1]
    if chosen.size and not -length <= chosen.min() <= chosen.max() < length:
        raise net.error(f"picks an element outside the {length} of axis {axis}")
    flat = [int(i) % length for i in chosen.reshape(-1)]
    if chosen.ndim == 1:
        return net.take(data, axis, flat)
    dims = net.file_shape(data)
    picked = net.take(data, axis, flat, name=f"{net.label}.picked")
    return net.reshape(picked, (*dims[:axis], *chosen.shape, *dims[axis + 1 :]))


def upright(net: Net, x: Data, axis: int) -> tuple[Data, int]:
    """`x` batch first, where the file has its axes in another order, and which of its axes the
    file's `axis` is."""
    assert x.order is not None  # by the caller
    if x.windows:
        raise x.mixed or net.mixed("parts of samples stand beside the batch")
    own = net.sample_axis(x.order[net.axis(axis, len(x.order))], x)
    return replace(x, dims=None, mixed=None, order=None), own


def _gathered(net: Net, x: Data, axis: int, chosen: NDArray[Any]) -> Data:
    """One element, or some, of an axis of a value whose batch is not first in the file."""
    assert x.order is not None  # by the caller
    if x.windows and net.axis(axis, len(x.order)) == 0 and chosen.ndim == 0:
        return folded.picked(net, x, [int(chosen) % x.shape[0]], drop=True)
    plain, own = upright(net, x, axis)
    length = plain.shape[own - 1]
    if chosen.ndim > 1 or not chosen.size:
        raise x.mixed or net.mixed("it picks several elements at once")
    if not -length <= chosen.min() <= chosen.max() < length:
        raise net.error(f"picks an element outside the {length} of axis {axis}")
    flat = [int(i) % length for i in chosen.reshape(-1)]
    if chosen.ndim:
        return net.moved(net.take(plain, own, flat), x.order)
    picked = net.take(plain, own, flat, name=f"{net.label}.picked")
    shape = [n for i, n in enumerate(picked.shape, 1) if i != own]
    picked = net.reshape(picked, (net.batch, *shape))
    return net.moved(picked, [o - (o > own) for o in x.order if o != own])


def _parted(net: Net, x: Data, axis: int, indices: NDArray[Any]) -> tuple[Data, int, NDArray[Any]]:
    """Samples laid end to end and picked apart again, which is how torch writes `as_strided`."""
    size = prod(x.shape)
    shifts = np.arange(net.batch).reshape(-1, *[1] * (indices.ndim - 1)) * size
    own = indices[:1]
    apart = indices.shape[:1] == (net.batch,) and np.array_equal(indices, own + shifts)
    if x.mixed and not (x.dims == (net.batch * size,) and axis in (0, -1) and apart):
        raise x.mixed
    return net.reshape(x, (net.batch, size), part="flat"), 1, own[0]


@ONNX_OPS.register("Concat")
def concat(net: Net, *inputs: Value, axis: int) -> Data:
    """Values joined along an axis; a constant part is added onto zeros."""
    data = [v for v in inputs if isinstance(v, Data)]
    order = data[0].order
    if order is not None:
        if any(value.order != order for value in data) or len(data) < len(inputs):
            raise data[0].mixed or net.mixed("it joins values whose axes differ in their order")
        axis = net.sample_axis(order[net.axis(axis, len(order))], data[0])
        plain = [replace(value, dims=None, mixed=None, order=None) for value in data]
        return net.moved(net.emit("concat", *plain, dim=axis), order)
    if any(value.order is not None for value in data):
        raise net.mixed("it joins values whose axes differ in their order")
    axis = net.sample_axis(axis, data[0])
    if len(data) == len(inputs):
        return net.emit("concat", *data, dim=axis) if len(data) > 1 else data[0]
    rank = len(data[0].shape) + 1
    widths = [
        v.shape[axis - 1] if isinstance(v, Data) else _width(net, v, rank, axis) for v in inputs
    ]
    shape = [1, *data[0].shape]
    shape[axis] = sum(widths)
    filled = np.zeros(shape, dtype=np.float32)
    parts, start, gap = [], 0, 0
    for value, width in zip(inputs, widths, strict=True):
        if isinstance(value, Data):
            parts.append(_padded(net, value, axis, gap, 0))
            gap = 0
        else:
            _, constant = net.broadcast(data[0], as_constant(value, "part"))
            place = (slice(None),) * axis + (slice(start, start + width),)
            filled[place] = constant.array
            gap += width
        start += width
    parts[-1] = _padded(net, parts[-1], axis, 0, gap)
    bare = not filled.any()
    if len(parts) > 1:
        whole = net.emit("concat", *parts, part="" if bare else "joined", dim=axis)
    else:
        whole = parts[0]
    return whole if bare else net.emit("add_constant", whole, net.made(filled, "constant"))


def _width(net: Net, value: Value, rank: int, axis: int) -> int:
    array = as_constant(value, "part").array
    if array.ndim != rank:
        raise net.error(f"joins values of {array.ndim} and {rank} axes")
    return int(array.shape[axis])


def _padded(net: Net, x: Data, axis: int, before: int, after: int) -> Data:
    if not before and not after:
        return x
    pads = [0, 0] * (len(x.shape) - axis) + [before, after]
    return net.emit("pad", x, part="padded", pads=pads)


@ONNX_OPS.register("Tile")
def tile(net: Net, x: Value, repeats: Ints) -> Data:
    """The value repeated along axes."""
    data = as_data(x)
    counts = as_ints(repeats, "list of repeats") or []
    if len(counts) != len(data.shape) + 1:
        raise net.error(f"repeats {len(counts)} axes of {len(data.shape) + 1}")
    if counts[0] != 1:
        raise net.mixed(f"it repeats axis 0 {counts[0]} times")
    for axis, count in enumerate(counts):
        if not 0 < count <= WIDEST:
            raise Blocked(f"it repeats an axis {count} times")
        if count > 1:
            data = net.emit("concat", *[data] * count, dim=axis)
    return data


@ONNX_OPS.register("Pad")
def pad(
    net: Net,
    x: Value,
    pads: Ints,
    constant_value: Value = None,
    axes: Ints = None,
    *,
    mode: str = "constant",
    value: float = 0.0,
) -> Data:
    """Zeros, another constant, or copies of the border put around a value."""
    data = as_data(x)
    rank = len(data.shape) + 1
    given = as_ints(pads, "padding") or []
    along = as_ints(axes, "list of axes")
    places = list(range(rank)) if along is None else [net.axis(a, rank) for a in along]
    half = len(places)
    if len(given) != 2 * half:
        raise net.error(f"has {len(given)} paddings for {half} axes")
    begin, end = [0] * rank, [0] * rank
    for i, place in enumerate(places):
        begin[place], end[place] = given[i], given[half + i]
    if begin[0] or end[0]:
        raise net.mixed("it pads axis 0")
    if mode != "constant":
        return _bordered(net, data, begin, end, mode)
    if constant_value is not None:
        value = float(as_constant(constant_value, "padding value").array.item())
    return _filled(net, data, begin, end, value)


def _filled(net: Net, x: Data, begin: Sequence[int], end: Sequence[int], value: float) -> Data:
    if not any(begin) and not any(end):
        return x
    if value == -np.inf and min(*begin, *end) >= 0:
        inside = [n + b + e for n, b, e in zip(x.shape, begin[1:], end[1:], strict=True)]
        return replace(x, shape=tuple(inside), low=(*begin[1:], *end[1:]))
    if not np.isfinite(value):
        raise Blocked(f"it pads with {value}")
    pads = [n for i in reversed(range(1, len(begin))) for n in (begin[i], end[i])]
    made = net.emit("pad", x, part="zeros" if value else "", pads=pads)
    if not value:
        return made
    inner = [
        max(n + min(b, 0) + min(e, 0), 0)
        for n, b, e in zip(x.shape, begin[1:], end[1:], strict=True)
    ]
    wide = [(max(b, 0), max(e, 0)) for b, e in zip(begin[1:], end[1:], strict=True)]
    border = np.pad(np.zeros(inner), wide, constant_values=value)[None]
    return net.emit("add_constant", made, net.made(border, "border"))


def _bordered(net: Net, x: Data, begin: Sequence[int], end: Sequence[int], mode: str) -> Data:
    """Reflected, repeated or wrapped borders, each axis put together from its slices."""
    if mode not in ("reflect", "edge", "wrap"):
        raise net.error(f"has the unknown mode '{mode}'")
    for axis in range(1, len(x.shape) + 1):
        b, e, length = begin[axis], end[axis], x.shape[axis - 1]
        if not b and not e:
            continue
        if max(b, e) > WIDEST:
            raise Blocked(f"it makes a border of {max(b, e)} elements out of slices")
        kept = np.arange(length)[max(-b, 0) : length + min(e, 0)]
        padded = np.pad(kept, (max(b, 0), max(e, 0)), mode=mode)  # type: ignore[call-overload]
        x = net.take(x, axis, padded.tolist())
    return x
