"""Padding: zeros and other constants, borders copied from inside, minus infinity for pooling."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from convsnn.load.aten.base import Blocked, Data, Lowering, aten
from convsnn.load.builder import ranges

_NUMPY = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
WIDEST = 64  # copied elements at one border, each of which becomes a slice


@aten("pad", "constant_pad_nd")
def pad(
    lowering: Lowering, *, pad: Sequence[int], mode: str = "constant", value: Any = 0, **rest: Any
) -> str | Data:
    """Padding in torch's order: last axis first, (begin, end) pairs."""
    x: Data = rest["self"]
    if mode in _NUMPY:
        return _copied(lowering, x, pad, mode)
    if mode != "constant":
        raise Blocked(f"padding with mode {mode} is not read")
    if value == -math.inf:
        return Data(x.name, lowering.shape, low=tuple(pad))
    if value is not None and not math.isfinite(value):
        raise Blocked(f"it pads with {value}")
    padded = lowering.builder.emit("pad", x.name, pads=list(pad))
    if not value:
        return padded
    border = F.pad(torch.zeros(1, *x.shape), list(pad), value=float(value))
    return lowering.builder.emit("add_constant", padded, lowering.filled(border, "border"))


@aten("reflection_pad1d", "reflection_pad2d", "reflection_pad3d")
def reflection_pad(lowering: Lowering, *, padding: Sequence[int], **arguments: Any) -> str:
    """A border mirrored at the outermost elements."""
    return _copied(lowering, arguments["self"], padding, "reflect")


@aten("replication_pad1d", "replication_pad2d", "replication_pad3d")
def replication_pad(lowering: Lowering, *, padding: Sequence[int], **arguments: Any) -> str:
    """A border of copies of the outermost elements."""
    return _copied(lowering, arguments["self"], padding, "replicate")


def _copied(lowering: Lowering, x: Data, pads: Sequence[int], mode: str) -> str:
    """Each padded axis put together from slices of itself."""
    if min(pads, default=0) < 0 or max(pads, default=0) > WIDEST:
        raise Blocked(f"padding of {list(pads)} with mode {mode} is not read")
    name = x.name
    for place, (begin, end) in enumerate(zip(pads[::2], pads[1::2], strict=True)):
        if not begin and not end:
            continue
        axis = len(x.shape) - place
        inside = np.arange(x.shape[axis - 1])
        copied = np.pad(inside, (begin, end), mode=_NUMPY[mode])  # type: ignore[call-overload]
        parts = [
            lowering.builder.emit(
                "slice", name, dim=axis, start=part.start, stop=part.stop, step=part.step
            )
            for part in ranges(copied.tolist())
        ]
        name = lowering.builder.emit("concat", *parts, dim=axis)
    return name
