"""Pooling and upsampling."""

from collections.abc import Sequence
from math import prod
from typing import Any

from convsnn.load.aten.base import Blocked, Data, Lowering, aten
from convsnn.load.aten.parts import largest, smallest
from convsnn.load.aten.weighted import _per_axis
from convsnn.load.builder import adaptive_average


@aten("max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices")
def max_pool(
    lowering: Lowering,
    *,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    **arguments: Any,
) -> str:
    """Max pooling; the indices are not kept."""
    x: Data = arguments["self"]
    n = _spatial(x)
    return lowering.builder.emit(
        "max_pool",
        x.name,
        kernel=_per_axis(kernel_size, n),
        stride=_per_axis(stride or kernel_size, n),
        padding=_padding(x, _per_axis(padding, n), ceil_mode),
        dilation=_per_axis(dilation, n),
        ceil_mode=ceil_mode,
    )


def _padding(x: Data, own: list[int], ceil_mode: bool) -> list[int]:
    """The pool's own padding and what was padded with minus infinity before it."""
    begin, end = list(x.low[::2]), list(x.low[1::2])
    if len(begin) > len(own) or min(x.low, default=0) < 0 or (x.low and ceil_mode):
        raise Blocked("its input is padded with minus infinity in a way that is not read")
    missing = [0] * (len(own) - len(begin))
    pairs = ((own, [*missing, *begin[::-1]]), (own, [*missing, *end[::-1]]))
    return [a + b for mine, more in pairs for a, b in zip(mine, more, strict=True)]


def _spatial(x: Data) -> int:
    if len(x.shape) < 2:
        raise Blocked("it takes the batch for channels; give it an input (B, C, ...)")
    return len(x.shape) - 1


@aten("avg_pool1d", "avg_pool2d", "avg_pool3d")
def avg_pool(
    lowering: Lowering,
    *,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None = None,
    **arguments: Any,
) -> str:
    """Average pooling."""
    if divisor_override is not None:
        raise Blocked("avg_pool with divisor_override is not read")
    x: Data = arguments["self"]
    n = _spatial(x)
    return lowering.builder.emit(
        "avg_pool",
        x.name,
        kernel=_per_axis(kernel_size, n),
        stride=_per_axis(stride or kernel_size, n),
        padding=_per_axis(padding, n) * 2,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
    )


@aten("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
def adaptive_avg_pool(lowering: Lowering, **arguments: Any) -> str:
    """Adaptive average pooling."""
    x: Data = arguments["self"]
    return adaptive_average(lowering.builder, x.name, x.shape, lowering.shape[1:])


@aten("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")
def adaptive_max_pool(lowering: Lowering, **arguments: Any) -> tuple[str, ...]:
    """Adaptive max pooling where all windows are equal."""
    x: Data = arguments["self"]
    spatial, size = x.shape[1:], lowering.shape[1:]
    if any(s % o for s, o in zip(spatial, size, strict=True)):
        raise Blocked(f"adaptive max pooling of {spatial} to {size} has unequal windows")
    kernel = [s // o for s, o in zip(spatial, size, strict=True)]
    name = lowering.builder.emit(
        "max_pool",
        x.name,
        kernel=kernel,
        stride=kernel,
        padding=[0] * (2 * len(kernel)),
        dilation=[1] * len(kernel),
    )
    return (name,) * 2


@aten("amax")
def amax(lowering: Lowering, *, dim: Any, keepdim: bool = False, **arguments: Any) -> str:
    """Maximum over axes, as max pooling where these are all spatial ones."""
    return largest(lowering, arguments["self"], dim, keepdim)


@aten("amin")
def amin(lowering: Lowering, *, dim: Any, keepdim: bool = False, **arguments: Any) -> str:
    """Minimum over axes."""
    return smallest(lowering, arguments["self"], dim, keepdim)


@aten("mean")
def mean(lowering: Lowering, *, dim: Any = None, keepdim: bool = False, **arguments: Any) -> str:
    """Mean over axes other than the batch."""
    x: Data = arguments["self"]
    if dim is None:
        raise Blocked("it averages over the batch")
    dims = [d % (len(x.shape) + 1) for d in (dim if isinstance(dim, list) else [dim])]
    return lowering.builder.emit("mean", x.name, dims=dims, keepdim=keepdim)


@aten("sum")
def total(lowering: Lowering, *, dim: Any = None, keepdim: bool = False, **arguments: Any) -> str:
    """Sum over axes other than the batch: the mean times their size."""
    x: Data = arguments["self"]
    rank = len(x.shape) + 1
    dims = [d % rank for d in (dim if isinstance(dim, list) else [dim])] if dim is not None else []
    if not dims or 0 in dims:
        raise Blocked("it adds samples up")
    name = lowering.builder.emit("mean", x.name, dims=dims, keepdim=keepdim)
    count = prod(x.shape[d - 1] for d in dims)
    factor = lowering.beside(float(count), "count", rank if keepdim else rank - len(dims))
    return lowering.builder.emit("scale", name, factor)


@aten("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d")
def nearest(lowering: Lowering, **arguments: Any) -> str:
    """Nearest-neighbour upsampling."""
    size = list(lowering.shape[1:])
    return lowering.builder.emit(
        "upsample", _source(arguments, size).name, size=size, mode="nearest"
    )


_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


@aten("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d")
def smooth(lowering: Lowering, *, align_corners: bool, **arguments: Any) -> str:
    """Linear and cubic upsampling."""
    size = list(lowering.shape[1:])
    return lowering.builder.emit(
        "upsample",
        _source(arguments, size).name,
        size=size,
        mode="bicubic" if "bicubic" in lowering.op else _LINEAR[len(size)],
        align_corners=align_corners,
    )


def _source(arguments: dict[str, Any], size: Sequence[int]) -> Data:
    """The value that is upsampled; refuses factors that torch would use instead of the size."""
    value: Data = arguments["self" if "self" in arguments else "input"]
    factors = arguments.get("scale_factors") or []
    for before, after, factor in zip(value.shape[1:], size, factors, strict=False):
        if before * factor != after:
            raise Blocked(f"upsampling by {factor} does not give whole sizes", "give the size")
    return value
