"""Everything that only moves values."""

from collections.abc import Sequence
from typing import Any

import torch

from convsnn.load.aten.base import Blocked, Constant, Data, Lowering, aten
from convsnn.load.builder import pixel_shuffle, pixel_unshuffle


@aten("cat", "concat")
def cat(lowering: Lowering, *, tensors: Sequence[Any], dim: int) -> str:
    """Concatenation of data values, and of constants such as a class token."""
    tensors = [t for t in tensors if not (isinstance(t, Constant) and t.value.numel() == 0)]
    dim %= len(lowering.shape) + 1
    if dim == 0:
        raise Blocked("it joins along the batch axis")
    if not all(isinstance(t, Data) for t in tensors):
        return _beside_constants(lowering, tensors, dim)
    return lowering.builder.emit("concat", *[t.name for t in tensors], dim=dim)


def _beside_constants(lowering: Lowering, tensors: Sequence[Any], dim: int) -> str:
    """Data values padded with zeros to where they stand, and one constant for all the rest."""
    emit, total = lowering.builder.emit, lowering.shape[dim - 1]
    device = next(t.value.device for t in tensors if isinstance(t, Constant))
    fixed = torch.zeros(1, *lowering.shape, device=device)
    parts, start = list[str](), 0
    for tensor in tensors:
        size = tensor.shape[dim - 1] if isinstance(tensor, Data) else tensor.value.shape[dim]
        if isinstance(tensor, Data):
            pads = [0, 0] * (len(lowering.shape) - dim) + [start, total - start - size]
            parts.append(emit("pad", tensor.name, pads=pads))
        else:
            if tensor.value.shape[0] != 1:
                raise Blocked("a constant with a batch axis of its own is joined to the data")
            fixed.narrow(dim, start, size).copy_(tensor.value)
        start += size
    name = parts[0]
    for part in parts[1:]:
        name = emit("add", name, part)
    return emit("add_constant", name, lowering.filled(fixed, "constant"))


@aten("stack")
def stack(lowering: Lowering, *, tensors: Sequence[Any], dim: int) -> Data:
    """Data values side by side along a new axis, which may stand before the batch."""
    if not all(isinstance(t, Data) for t in tensors):
        raise Blocked("a constant is joined to the data")
    shape = list(tensors[0].shape)
    dim %= len(shape) + 2
    at = max(dim, 1)
    whole, emit = [*shape[: at - 1], 1, *shape[at - 1 :]], lowering.builder.emit
    parts = [emit("reshape", t.name, shape=[*whole]) for t in tensors]
    name = emit("concat", *parts, dim=at)
    whole[at - 1] = len(tensors)
    return Data(name, tuple(whole), stacked=dim == 0)


def _slice(lowering: Lowering, x: Data, dim: int, start: Any, stop: Any, step: int) -> str:
    size = x.shape[dim - 1]
    begin, end, _ = slice(start, stop).indices(size)
    return lowering.builder.emit("slice", x.name, dim=dim, start=begin, stop=end, step=step)


@aten("slice")
def slice_(
    lowering: Lowering, *, dim: int, start: Any, end: Any, step: int, **arguments: Any
) -> Any:
    """x[start:end:step] along one axis; the whole batch axis passes unchanged."""
    x: Data = arguments["self"]
    dim %= len(x.shape) + 1
    if dim == 0:
        if (start or 0) == 0 and (end is None or end > 2**62) and step == 1:
            return x
        raise Blocked("it takes a part of the batch")
    return _slice(lowering, x, dim, start, end, step)


@aten("select")
def select(lowering: Lowering, *, dim: int, index: int, **arguments: Any) -> str:
    """x[index] along one axis, which goes away."""
    x: Data = arguments["self"]
    dim %= len(x.shape) + 1
    index %= x.shape[dim - 1]
    part = _slice(lowering, x, dim, index, index + 1, 1)
    return lowering.builder.emit("reshape", part, shape=list(lowering.shape))


@aten("slice_scatter")
def slice_scatter(
    lowering: Lowering, *, src: Any, dim: int, start: Any, end: Any, step: int, **arguments: Any
) -> Any:
    """x with x[start:end] along one axis written over, as `x[:, a:b] = y` does."""
    x = arguments["self"]
    dim %= len(lowering.shape) + 1
    size = lowering.shape[dim - 1]
    begin, stop, _ = slice(start, end).indices(size)
    if dim == 0 and begin == 0 and (end is None or end > 2**62) and step == 1:
        return src
    if dim == 0 or step != 1:
        raise Blocked("it writes over a part of the batch, or over single elements")
    pieces = [_part(lowering, x, dim, 0, begin), src, _part(lowering, x, dim, stop, size)]
    return cat(lowering, tensors=[p for p in pieces if p is not None], dim=dim)


@aten("select_scatter")
def select_scatter(lowering: Lowering, *, src: Any, dim: int, index: int, **arguments: Any) -> Any:
    """x with x[index] along one axis written over."""
    dim %= len(lowering.shape) + 1
    if dim == 0:
        raise Blocked("it writes over a part of the batch")
    index %= lowering.shape[dim - 1]
    wide = [*lowering.shape[: dim - 1], 1, *lowering.shape[dim:]]
    if isinstance(src, Data):
        src = Data(lowering.builder.emit("reshape", src.name, shape=wide), tuple(wide))
    else:
        src = Constant(src.value.unsqueeze(dim), src.name)
    kept = {"self": arguments["self"], "dim": dim, "start": index, "end": index + 1, "step": 1}
    return slice_scatter(lowering, src=src, **kept)


@aten("copy")
def copy(_lowering: Lowering, *, src: Any, **arguments: Any) -> Any:
    """All of a value written over by another of its shape."""
    if arguments["self"] is None or not isinstance(src, Data) or src.shape != _lowering.shape:
        raise Blocked("it writes a value over one of another shape")
    return src


def _part(lowering: Lowering, x: Any, dim: int, start: int, stop: int) -> Any:
    """x[start:stop] along one axis; None where that is nothing."""
    if start >= stop:
        return None
    if isinstance(x, Constant):
        return Constant(x.value.narrow(dim, start, stop - start), x.name)
    shape = (*x.shape[: dim - 1], stop - start, *x.shape[dim:])
    return Data(_slice(lowering, x, dim, start, stop, 1), shape)


def _split(lowering: Lowering, x: Data, dim: int, sizes: Sequence[int]) -> tuple[str, ...]:
    dim %= len(x.shape) + 1
    if dim == 0:
        raise Blocked("it splits the batch")
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return tuple(_slice(lowering, x, dim, a, a + s, 1) for a, s in zip(starts, sizes, strict=True))


@aten("split")
def split(lowering: Lowering, *, split_size: int, dim: int, **arguments: Any) -> tuple[str, ...]:
    """Equal parts; the last may be smaller."""
    x: Data = arguments["self"]
    size = x.shape[dim % (len(x.shape) + 1) - 1]
    sizes = [min(split_size, size - a) for a in range(0, size, split_size)]
    return _split(lowering, x, dim, sizes)


@aten("split_with_sizes")
def split_with_sizes(
    lowering: Lowering, *, split_sizes: Sequence[int], dim: int, **arguments: Any
) -> tuple[str, ...]:
    """Parts of given sizes."""
    return _split(lowering, arguments["self"], dim, split_sizes)


@aten("unbind")
def unbind(lowering: Lowering, *, dim: int, **arguments: Any) -> tuple[str, ...]:
    """One part for each index; the axis goes away."""
    x: Data = arguments["self"]
    size = x.shape[dim % (len(x.shape) + 1) - 1]
    parts = _split(lowering, x, dim, [1] * size)
    shape = list(lowering.shape)
    return tuple(lowering.builder.emit("reshape", p, shape=shape) for p in parts)


@aten(
    "view",
    "reshape",
    "_unsafe_view",
    "flatten",
    "unflatten",
    "squeeze",
    "unsqueeze",
    "_reshape_copy",
)
def reshape(lowering: Lowering, **arguments: Any) -> Any:
    """Any change of shape that leaves the batch alone."""
    x: Data = arguments["self"]
    if x.shape == lowering.shape:
        return x
    return lowering.builder.emit("reshape", x.name, shape=list(lowering.shape))


def _permute(lowering: Lowering, x: Data, dims: Sequence[int]) -> str | Data:
    if 0 not in dims[:2]:
        raise Blocked("it moves the batch axis")
    own = [0, *(d for d in dims if d != 0)]
    name = lowering.builder.emit("permute", x.name, dims=own) if own != sorted(own) else x.name
    if dims[0] == 0:
        return Data(name, tuple(x.shape[d - 1] for d in own[1:]))
    return Data(name, tuple(x.shape[d - 1] for d in own[1:]), stacked=True)


@aten("permute")
def permute(lowering: Lowering, *, dims: Sequence[int], **arguments: Any) -> str | Data:
    """Axes in another order."""
    x: Data = arguments["self"]
    return _permute(lowering, x, [d % (len(x.shape) + 1) for d in dims])


@aten("transpose")
def transpose(lowering: Lowering, *, dim0: int, dim1: int, **arguments: Any) -> str | Data:
    """Two axes exchanged."""
    x: Data = arguments["self"]
    dims = list(range(len(x.shape) + 1))
    dims[dim0], dims[dim1] = dims[dim1], dims[dim0]
    return _permute(lowering, x, dims)


@aten("pixel_shuffle")
def shuffle(lowering: Lowering, *, upscale_factor: int, **arguments: Any) -> str:
    """Channels to space."""
    x: Data = arguments["self"]
    return pixel_shuffle(lowering.builder, x.name, x.shape, upscale_factor)


@aten("pixel_unshuffle")
def unshuffle(lowering: Lowering, *, downscale_factor: int, **arguments: Any) -> str:
    """Space to channels."""
    x: Data = arguments["self"]
    return pixel_unshuffle(lowering.builder, x.name, x.shape, downscale_factor)


@aten("channel_shuffle")
def channel_shuffle(lowering: Lowering, *, groups: int, **arguments: Any) -> str:
    """Channels of the groups interleaved."""
    x: Data = arguments["self"]
    emit, rest = lowering.builder.emit, list(range(3, len(x.shape) + 2))
    parts = emit("reshape", x.name, shape=[groups, x.shape[0] // groups, *x.shape[1:]])
    mixed = emit("permute", parts, dims=[0, 2, 1, *rest])
    return emit("reshape", mixed, shape=list(x.shape))


@aten(
    "clone",
    "contiguous",
    "dropout",
    "native_dropout",
    "alias",
    "detach",
    "_to_copy",
    "to",
    "type_as",
    "lift_fresh_copy",
    "feature_dropout",
    "alpha_dropout",
)
def same(lowering: Lowering, **arguments: Any) -> Data | Constant:
    """What does nothing at inference; dropout that is asked for at inference is refused."""
    del lowering
    if arguments.get("train"):
        raise Blocked("it is random even at inference (training=True)", "use nn.Dropout")
    value: Data | Constant = arguments["self" if "self" in arguments else "input"]
    return value
