"""GatherND by constant indices that pick from each axis on its own, as `x[rows][:, columns]` does.

Torch's exporter writes adaptive pooling with unequal windows so: the batch is moved behind the
picked axes and back.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from convsnn.load.onnx.base import ONNX_OPS, Net
from convsnn.load.onnx.values import Blocked, Data, Value, as_constant, as_data


@ONNX_OPS.register("GatherND")
def gather_nd(net: Net, x: Value, indices: Value, *, batch_dims: int = 0) -> Data:
    """Elements of the first axes, which the index names together; the axes behind stay."""
    data, chosen = as_data(x), as_constant(indices, "list of indices").array
    order = data.order or tuple(range(len(data.shape) + 1))
    picked, rest = order[: chosen.shape[-1]], order[chosen.shape[-1] :]
    if batch_dims or 0 in picked:
        raise net.mixed("it picks samples")
    plain = Data(data.name, data.shape)
    along: list[int] = []  # the axes of the index, as the picked axes of the value take them
    parts = np.moveaxis(chosen, -1, 0)
    owned = [_moving_axes(part) for part in parts]
    owned[0] += set(range(chosen.ndim - 1)) - {i for own in owned for i in own}
    for axis, index, own in zip(picked, parts, owned, strict=True):
        cut = tuple(slice(None) if i in own else slice(1) for i in range(index.ndim))
        flat, length = index[cut].reshape(-1), data.shape[axis - 1]
        if flat.size and not -length <= flat.min() <= flat.max() < length:
            raise net.error(f"picks an element outside the {length} of axis {axis}")
        part = f"{net.label}.axis{axis}"
        plain = net.take(plain, axis, [int(i) % length for i in flat], name=part)
        along += sorted(own)
    if len(set(along)) < len(along):
        raise Blocked("it picks elements whose places depend on each other")
    # the picked axes first, each opened into its axes of the index; then those in their order
    behind = [axis for axis in rest if axis]
    plain = net.permute(plain, [0, *picked, *behind], part="picked")
    sizes, kept = chosen.shape[:-1], [data.shape[axis - 1] for axis in behind]
    plain = net.reshape(plain, [net.batch, *(sizes[i] for i in along), *kept], part="opened")
    places = [1 + along.index(i) for i in sorted(along)]
    tail = range(1 + len(along), 1 + len(along) + len(kept))
    plain = net.permute(plain, [0, *places, *tail], part="ordered")
    ends = iter(range(1 + len(sizes), 1 + len(sizes) + len(kept)))
    return net.moved(plain, [*range(1, 1 + len(sizes)), *(next(ends) if a else 0 for a in rest)])


def _moving_axes(index: NDArray[Any]) -> list[int]:
    """The axes that `index` changes along."""
    return [
        axis
        for axis, length in enumerate(index.shape)
        if not np.array_equal(index, index.take([0] * length, axis))
    ]
