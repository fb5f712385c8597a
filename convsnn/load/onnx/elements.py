"""ScatterElements, Scatter and GatherElements by constant indices: single elements along an axis.

Where whole slices of the axis move, they are picked along it, else element by element of samples
laid out flat. What is written over is picked from both values, joined; what is added is written
onto zeros first, once for each time that an element is hit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convsnn.load.onnx.base import ONNX_OPS, Net
from convsnn.load.onnx.values import Blocked, Constant, Data, Value, as_constant, as_data

_OTHER = {"mul": "product", "max": "larger one", "min": "smaller one"}


@dataclass(frozen=True)
class Places:
    """Where elements of a sample are on `axis`, of `length`; on a `flat` sample axis 1."""

    axis: int
    length: int
    at: Sequence[int]
    flat: bool


@ONNX_OPS.register("ScatterElements")
def scatter_elements(
    net: Net,
    data: Value,
    indices: Value,
    updates: Value,
    *,
    axis: int = 0,
    reduction: str = "none",
) -> Data:
    """`data` with elements along an axis replaced by `updates`, or these added to them."""
    chosen = as_constant(indices, "list of indices").array
    if reduction not in ("none", "add"):
        other = _OTHER.get(reduction, reduction)
        raise Blocked(f"it writes the {other} of what was there and what comes")
    into, new = _sample(net, data), _sample(net, updates)
    places = _places(net, chosen, axis, into)
    if chosen.shape[1:] != new:
        raise net.error(f"has indices of shape {chosen.shape[1:]} for elements of {new}")
    if places.flat:
        data, updates = _flat(net, data), _flat(net, updates)
    rounds = _rounds(places.at)
    if reduction == "add":
        for one in rounds:
            zeros = net.made(np.zeros((1, *_sample(net, data)), dtype=np.float32), "zeros")
            data = _applied(net, "Add", data, _written(net, zeros, updates, places, one))
    elif len(rounds) > 1:
        raise Blocked("it writes an element twice, and which of both stays is not laid down")
    else:
        data = _written(net, data, updates, places, range(len(places.at)))
    return net.reshape(as_data(data), (net.batch, *into))


@ONNX_OPS.register("Scatter")
def scatter(net: Net, data: Value, indices: Value, updates: Value, *, axis: int = 0) -> Data:
    """What ScatterElements was called until opset 10."""
    return _applied(net, "ScatterElements", data, indices, updates, axis=axis)


@ONNX_OPS.register("GatherElements")
def gather_elements(net: Net, x: Value, indices: Value, *, axis: int = 0) -> Data:
    """For every index the element that it names along an axis, at the place of the index."""
    data, chosen = as_data(x), as_constant(indices, "list of indices").array
    places = _places(net, chosen, axis, data.shape)
    picked = net.take(_laid(net, data, places), places.axis, places.at)
    return net.reshape(picked, (net.batch, *chosen.shape[1:]))


def _laid(net: Net, x: Data, places: Places) -> Data:
    return net.reshape(x, (net.batch, prod(x.shape)), part="flat") if places.flat else x


def _sample(net: Net, value: Value) -> tuple[int, ...]:
    if isinstance(value, Data):
        return value.shape
    shape = as_constant(value, "part").array.shape
    if not shape or shape[0] not in (1, net.batch):
        raise net.mixed("it writes into some samples only")
    return shape[1:]


def _places(net: Net, chosen: NDArray[Any], axis: int, into: Sequence[int]) -> Places:
    """Where in samples of shape `into` the indices, which all samples share, point to."""
    along = net.axis(axis, len(into) + 1)
    if along == 0:
        raise net.mixed("it works along axis 0")
    if chosen.ndim != len(into) + 1:
        raise net.error(f"has indices of {chosen.ndim} axes for {len(into) + 1}")
    if chosen.shape[0] != net.batch or np.any(chosen != chosen[:1]):
        raise net.mixed("its indices are not the same for every sample")
    own, length = chosen[0].astype(np.int64), into[along - 1]
    if own.size and not -length <= own.min() <= own.max() < length:
        raise net.error(f"points outside the {length} of axis {axis}")
    own %= length or 1
    others = [i for i in range(len(into)) if i != along - 1]
    if any(own.shape[i] > into[i] for i in others):
        raise net.error(f"has indices of shape {own.shape} for samples of {tuple(into)}")
    rows = np.moveaxis(own, along - 1, 0)
    rows = rows.reshape(len(rows), prod(rows.shape[1:]))
    if all(own.shape[i] == into[i] for i in others) and rows.size and not np.ptp(rows, 1).any():
        return Places(along, length, [int(i) for i in rows[:, 0]], flat=False)
    grid = list(np.indices(own.shape))
    grid[along - 1] = own
    at = np.ravel_multi_index(grid, into).reshape(-1) if own.size else own.reshape(-1)
    return Places(1, prod(into), at.tolist(), flat=True)


def _flat(net: Net, value: Value) -> Value:
    if isinstance(value, Data):
        return net.reshape(value, (net.batch, prod(value.shape)), part="flat")
    constant = as_constant(value, "part")
    return Constant(constant.name, constant.array.reshape(constant.array.shape[0], -1))


def _rounds(at: Sequence[int]) -> list[list[int]]:
    """The numbers of the elements, apart where they go to one place."""
    rounds, times = list[list[int]](), dict[int, int]()
    for number, place in enumerate(at):
        count = times[place] = times.get(place, 0) + 1
        if count > len(rounds):
            rounds.append([])
        rounds[count - 1].append(number)
    return rounds


def _written(
    net: Net, data: Value, updates: Value, places: Places, numbers: Sequence[int]
) -> Data | Constant:
    """`data` with the elements `numbers` of `updates` in their places."""
    if isinstance(data, Constant) and isinstance(updates, Constant):
        made = np.array(np.broadcast_to(data.array, (net.batch, *data.array.shape[1:])))
        own, new = made.swapaxes(0, places.axis), updates.array.swapaxes(0, places.axis)
        own[[places.at[n] for n in numbers]] = new[list(numbers)]
        return Constant(data.name, made)
    joined = _applied(net, "Concat", data, updates, axis=places.axis)
    source = {places.at[n]: places.length + n for n in numbers}
    return net.take(joined, places.axis, [source.get(i, i) for i in range(places.length)])


def _applied(net: Net, op: str, *values: Value, **attributes: Any) -> Data:
    made = ONNX_OPS.get(op)(net, *values, **attributes)
    assert isinstance(made, Data)  # one of the values is
    return made
