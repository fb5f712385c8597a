"""Elements picked, repeated or put in another order along an axis, by indices that are constant."""

from collections.abc import Sequence
from typing import Any

import torch

from convsnn.load.aten.base import Blocked, Constant, Data, Lowering, aten
from convsnn.load.builder import ranges

WIDEST = 256  # runs of equal steps that one pick may be put together from


def sample_axis(dim: int, x: Data) -> int:
    """`dim` of `x` counted from the front; Blocked where it is the batch."""
    dim %= len(x.shape) + 1
    if dim == 0:
        raise Blocked("it works along the batch axis")
    return dim


def take(lowering: Lowering, name: str, dim: int, indices: Sequence[int]) -> str:
    """Elements `indices` of axis `dim`, in that order: one slice for each run of equal steps."""
    runs = ranges(indices)
    if len(runs) > WIDEST:
        raise Blocked(f"it picks {len(indices)} elements in no regular order")
    emit = lowering.builder.emit
    parts = [emit("slice", name, dim=dim, start=r.start, stop=r.stop, step=r.step) for r in runs]
    return parts[0] if len(parts) == 1 else emit("concat", *parts, dim=dim)


def _whole(index: Any, size: int) -> list[int]:
    """A constant index as numbers from 0; a mask as the places where it is true."""
    if not isinstance(index, Constant):
        raise Blocked("which elements it picks depends on the data")
    value = index.value.flatten()
    if value.dtype in (torch.bool, torch.uint8):
        return [int(i) for i in value.nonzero().flatten()]
    return [int(i) % size for i in value]


@aten("index")
def index(lowering: Lowering, *, indices: Sequence[Any], **arguments: Any) -> str:
    """x[:, [2, 1, 0]]: one axis picked from by a list, an array or a mask."""
    x: Data = arguments["self"]
    used = [(dim, given) for dim, given in enumerate(indices) if given is not None]
    if len(used) != 1:
        raise Blocked("it picks along several axes at once")
    dim = sample_axis(used[0][0], x)
    name = take(lowering, x.name, dim, _whole(used[0][1], x.shape[dim - 1]))
    flat = (*x.shape[: dim - 1], *lowering.shape[dim - 1 :][:1], *x.shape[dim:])
    if flat == lowering.shape:
        return name
    return lowering.builder.emit("reshape", name, shape=list(lowering.shape))


@aten("index_select")
def index_select(lowering: Lowering, *, dim: int, index: Any, **arguments: Any) -> str:
    """Elements of one axis in the order of `index`."""
    x: Data = arguments["self"]
    dim = sample_axis(dim, x)
    return take(lowering, x.name, dim, _whole(index, x.shape[dim - 1]))


@aten("flip")
def flip(lowering: Lowering, *, dims: Sequence[int], **arguments: Any) -> str:
    """Axes in reverse."""
    x: Data = arguments["self"]
    name = x.name
    for dim in (sample_axis(d, x) for d in dims):
        name = take(lowering, name, dim, range(x.shape[dim - 1] - 1, -1, -1))
    return name


@aten("roll")
def roll(
    lowering: Lowering, *, shifts: Sequence[int], dims: Sequence[int] = (), **arguments: Any
) -> str:
    """Axes moved round: what leaves at the end comes in at the beginning."""
    x: Data = arguments["self"]
    if not dims:
        raise Blocked("it works along the batch axis")
    name = x.name
    for shift, dim in zip(shifts, (sample_axis(d, x) for d in dims), strict=True):
        size = x.shape[dim - 1]
        name = take(lowering, name, dim, [(i - shift) % size for i in range(size)])
    return name


@aten("repeat")
def repeat(lowering: Lowering, *, repeats: Sequence[Any], **arguments: Any) -> str | Data:
    """Each axis some times over."""
    x: Data = arguments["self"]
    if len(repeats) != len(x.shape) + 1 or repeats[0] != 1:
        raise Blocked("it repeats the batch")
    return _repeated(lowering, x, [int(count) for count in repeats[1:]])


def _repeated(lowering: Lowering, x: Data, counts: Sequence[int]) -> str | Data:
    name, emit = x.name, lowering.builder.emit
    single = [n if size == 1 else 1 for n, size in zip(counts, x.shape, strict=True)]
    if any(n != 1 for n in single):  # an axis of size 1 is repeated by a factor of ones
        name = emit("scale", name, lowering.filled(torch.ones(1, *single), "factor"))
    for dim, (count, size) in enumerate(zip(counts, x.shape, strict=True), 1):
        if size != 1 and count != 1:
            if count > WIDEST:
                raise Blocked(f"it repeats an axis {count} times")
            name = emit("concat", *[name] * count, dim=dim)
    return x if name == x.name else name


@aten("expand")
def expand(lowering: Lowering, **arguments: Any) -> str | Data:
    """An axis of size 1 repeated."""
    x: Data = arguments["self"]
    if len(x.shape) != len(lowering.shape):
        raise Blocked("it repeats the batch")
    if x.shape == lowering.shape:
        return x
    pairs = zip(lowering.shape, x.shape, strict=True)
    return _repeated(lowering, x, [new if old == 1 else 1 for new, old in pairs])


@aten("repeat_interleave")
def repeat_interleave(
    lowering: Lowering, *, repeats: Any, dim: int | None = None, **arguments: Any
) -> str | Data:
    """Each element of an axis some times in a row."""
    x: Data = arguments["self"]
    if dim is None or not isinstance(repeats, int):
        raise Blocked("it repeats along the batch, or elements by different numbers")
    if repeats == 1:
        return x
    dim = sample_axis(dim, x)
    emit, (*before, size), after = lowering.builder.emit, x.shape[:dim], x.shape[dim:]
    name = emit("reshape", x.name, shape=[*before, size, 1, *after])
    ones = [1] * (len(before) + 2) + [repeats] + [1] * len(after)
    name = emit("scale", name, lowering.filled(torch.ones(ones), "factor"))
    return emit("reshape", name, shape=[*before, size * repeats, *after])


@aten("_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d")
def nearest_exact(lowering: Lowering, **arguments: Any) -> str | Data:
    """Upsampling to the element whose middle is nearest."""
    x: Data = arguments["self" if "self" in arguments else "input"]
    factors = arguments.get("scale_factors")
    names = ("scales",) if len(x.shape) == 2 else ("scales_d", "scales_h", "scales_w")
    given = factors or [arguments.get(name) for name in names][-(len(x.shape) - 1) :]
    name = x.name
    for dim, factor in enumerate(given, 2):
        old, new = x.shape[dim - 1], lowering.shape[dim - 1]
        step = 1 / factor if factor else old / new
        places = [min(int((i + 0.5) * step), old - 1) for i in range(new)]
        if places != list(range(old)):
            name = take(lowering, name, dim, places)
    return x if name == x.name else name
