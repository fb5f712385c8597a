"""Reshape, Flatten, Squeeze, Unsqueeze, Transpose, Expand, DepthToSpace and SpaceToDepth."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from convsnn.load.onnx import folded
from convsnn.load.onnx.base import ONNX_OPS, Net
from convsnn.load.onnx.values import Data, Ints, Value, as_data, as_ints


@ONNX_OPS.register("Reshape")
def reshape(net: Net, x: Value, shape: Ints, *, allowzero: int = 0) -> Data:
    """Another shape for each sample; 0 keeps an axis, -1 is found."""
    data = as_data(x)
    before = net.file_shape(data)
    target = as_ints(shape, "target shape") or []
    if not allowzero:
        target = [before[i] if n == 0 else n for i, n in enumerate(target)]
    if -1 in target:
        others = -prod(target)
        if target.count(-1) > 1 or others < 1 or prod(before) % others:
            raise net.error(f"cannot bring shape {net.named(before)} to {net.named(target)}")
        target[target.index(-1)] = prod(before) // others
    return net.reshape(data, target)


@ONNX_OPS.register("Flatten")
def flatten(net: Net, x: Value, *, axis: int = 1) -> Data:
    """Two axes: all before `axis`, and all from it on."""
    data = as_data(x)
    dims = net.file_shape(data)
    cut = len(dims) if axis == len(dims) else net.axis(axis, len(dims))
    return net.reshape(data, (prod(dims[:cut]), prod(dims[cut:])))


@ONNX_OPS.register("Squeeze")
def squeeze(net: Net, x: Value, axes: Ints = None) -> Data:
    """Without axes of size 1."""
    data = as_data(x)
    dims = net.file_shape(data)
    given = as_ints(axes, "list of axes")
    if data.order is not None and given is not None:
        return _squeezed(net, data, {net.axis(a, len(dims)) for a in given})
    gone = {i for i, n in enumerate(dims) if n == 1}
    if given is not None:
        gone = {net.axis(a, len(dims)) for a in given}
    return net.reshape(data, [n for i, n in enumerate(dims) if i not in gone])


def _squeezed(net: Net, x: Data, gone: set[int]) -> Data:
    """Without the axes `gone`, where the file has the batch elsewhere than first."""
    assert x.order is not None  # by the caller
    if x.windows:
        if gone != {0}:
            raise x.mixed or net.mixed("it drops what stands beside the batch")
        return folded.dropped(net, x)
    own = {x.order[i] for i in gone}
    if 0 in own:
        raise x.mixed or net.mixed("it drops axis 0")
    plain = replace(x, dims=None, mixed=None, order=None)
    shape = [n for i, n in enumerate(plain.shape, 1) if i not in own]
    made = net.reshape(plain, (net.batch, *shape))
    left = [o for i, o in enumerate(x.order) if i not in gone]
    return net.moved(made, [o - sum(g < o for g in own) for o in left])


@ONNX_OPS.register("Unsqueeze")
def unsqueeze(net: Net, x: Value, axes: Ints) -> Data:
    """With new axes of size 1 at the places `axes` of the result."""
    data = as_data(x)
    given = as_ints(axes, "list of axes") or []
    rank = len(data.shape) + 1 + len(given)
    new = {net.axis(a, rank) for a in given}
    if new == {0} and data.mixed is None:  # as torch.stack along axis 0 does
        put = net.reshape(data, (net.batch, 1, *data.shape))
        return net.moved(put, [1, 0, *range(2, rank)])
    rest = iter(net.file_shape(data))
    return net.reshape(data, [1 if i in new else next(rest) for i in range(rank)])


@ONNX_OPS.register("Transpose")
def transpose(net: Net, x: Value, *, perm: Sequence[int] = ()) -> Data:
    """Axes in another order; reversed where none is given."""
    data = as_data(x)
    dims = net.file_shape(data)
    order = list(perm) or list(reversed(range(len(dims))))
    if sorted(order) != list(range(len(dims))):
        raise net.error(f"has the axes {order}, but its input has {len(dims)}")
    if data.windows:
        raise data.mixed or net.mixed("parts of samples stand beside the batch")
    if data.order is not None:
        order = [data.order[i] for i in order]
        data = replace(data, dims=None, mixed=None, order=None)
    if order[0] == 0:
        return net.permute(data, order)
    return net.moved(data, order)


@ONNX_OPS.register("Expand")
def expand(net: Net, x: Value, shape: Ints) -> Data:
    """Repeated along axes of size 1, written as a sum with zeros of the wanted shape."""
    data = as_data(x)
    target = as_ints(shape, "target shape") or []
    rank = max(len(target), len(data.shape) + 1)
    data = net.raised(data, rank)
    before, wanted = net.file_shape(data), [1] * (rank - len(target)) + target
    if wanted[0] not in (1, net.batch):
        raise net.mixed(f"it repeats axis 0 {wanted[0]} times")
    if all(n in (1, b) for n, b in zip(wanted, before, strict=True)):
        return data
    zeros = np.broadcast_to(np.float32(0), [1, *wanted[1:]])
    return net.emit("add_constant", data, net.made(zeros, "zeros"))


@ONNX_OPS.register("DepthToSpace")
def depth_to_space(net: Net, x: Value, *, blocksize: int, mode: str = "DCR") -> Data:
    """Blocks of channels become blocks of pixels."""
    data = as_data(x)
    channels, height, width = _image(net, data)
    if blocksize < 1 or channels % blocksize**2:
        raise net.error(f"cannot divide {channels} channels by {blocksize} x {blocksize}")
    out, b = channels // blocksize**2, blocksize
    crd = mode == "CRD"
    split = [out, b, b, height, width] if crd else [b, b, out, height, width]
    x = net.emit("reshape", data, part="split", shape=split)
    x = net.permute(x, [0, 1, 4, 2, 5, 3] if crd else [0, 3, 4, 1, 5, 2], part="moved")
    return net.emit("reshape", x, shape=[out, height * b, width * b])


@ONNX_OPS.register("SpaceToDepth")
def space_to_depth(net: Net, x: Value, *, blocksize: int) -> Data:
    """Blocks of pixels become blocks of channels."""
    data = as_data(x)
    channels, height, width = _image(net, data)
    if blocksize < 1 or height % blocksize or width % blocksize:
        raise net.error(f"cannot divide {height} x {width} by {blocksize} x {blocksize}")
    b, h, w = blocksize, height // blocksize, width // blocksize
    x = net.emit("reshape", data, part="split", shape=[channels, h, b, w, b])
    x = net.permute(x, [0, 3, 5, 1, 2, 4], part="moved")
    return net.emit("reshape", x, shape=[channels * b * b, h, w])


def _image(net: Net, x: Data) -> tuple[int, int, int]:
    if len(x.shape) != 3:
        raise net.error(f"needs an image of 3 axes, not {net.named(net.file_shape(x))}")
    channels, height, width = x.shape
    return channels, height, width
