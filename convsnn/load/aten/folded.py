"""Values whose windows run with the batch on one axis: (B * k, ...) in torch, (k, ...) a sample.

Ops that neither take the axis behind for channels nor look at places work on each window alike;
their axes are counted from the end, where nothing has moved.
"""

from collections.abc import Sequence
from dataclasses import replace
from string import ascii_letters
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node as FxNode

from convsnn.load.aten.base import (
    MIXED,
    Blocked,
    Constant,
    Data,
    Lowered,
    Lowering,
    folded_shape,
)

RESHAPES = frozenset(("view", "reshape", "_unsafe_view", "flatten", "unflatten", "_reshape_copy"))
# what may work on windows that stand beside the samples on the batch axis: not what takes the
# axis behind it for channels, or looks at places
_FOLDED = RESHAPES | frozenset((
    *("add", "sub", "mul", "div", "neg", "linear", "matmul", "bmm", "softmax", "_softmax"),
    *("layer_norm", "native_layer_norm", "rms_norm", "gelu", "silu", "relu", "sigmoid", "tanh"),
    *("permute", "transpose", "slice", "select", "split", "split_with_sizes", "unbind", "cat"),
    *("mean", "sum", "clone", "contiguous", "dropout", "scaled_dot_product_attention", "roll"),
    *("squeeze", "unsqueeze", "alias", "_to_copy", "linalg_vector_norm", "exp", "pow", "sqrt"),
    *("rsqrt", "clamp", "clamp_min", "hardswish", "expand", "pad", "constant_pad_nd", "unfold"),
    *("_native_batch_norm_legit_no_training", "einsum", "type_as", "repeat"),
))  # fmt: skip
# what takes the axis behind the batch for channels, and works on each of them or on groups
CHANNELLED = frozenset((
    *("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "avg_pool1d"),
    *("avg_pool2d", "max_pool1d", "max_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d"),
))  # fmt: skip
_AXES = ("dim", "dim0", "dim1", "dims", "dimension")  # arguments that name axes


def rank_of(node: FxNode) -> int:
    """How many axes the first value that an op reads has in torch."""
    values = (n.meta.get("val") for n in node.all_input_nodes)
    return next((v.dim() for v in values if isinstance(v, Tensor)), 0)


def in_windows(
    kind: str, bound: dict[str, Any], data: list[Data], *, folded: bool, rank: int
) -> dict[str, Any]:
    """The arguments of an op on values whose first axis runs with the batch, as if it stood behind
    it: axes are counted from the end, where nothing has moved."""
    inside = {d.folded for d in data}
    if inside == {False} and not folded:
        return bound
    if kind in ("unbind", "select") and all(d.stacked for d in data):
        if bound["dim"] % rank:
            raise Blocked(MIXED)
        return {**bound, "self": replace(bound["self"], stacked=False), "dim": 1}
    if kind not in _FOLDED or (kind not in RESHAPES and inside != {folded}):
        raise Blocked(MIXED)
    if kind in RESHAPES:
        return bound
    if kind == "repeat":
        if len(bound["repeats"]) != rank or bound["repeats"][0] != 1:
            raise Blocked(MIXED)
        return {**bound, "repeats": [1, *bound["repeats"]]}
    if kind == "unsqueeze":
        if bound["dim"] % (rank + 1) == 0:
            raise Blocked(MIXED)
        return bound
    if kind == "einsum":
        return {**bound, "equation": _with_windows(bound["equation"], bound["tensors"])}
    changed = dict(bound)
    if kind in ("pad", "constant_pad_nd") and len(bound["pad"]) >= 2 * rank:
        raise Blocked(MIXED)
    if kind == "permute":
        dims = [d % rank for d in bound["dims"]]
        if dims[0] != 0:
            raise Blocked(MIXED)
        return {**bound, "dims": [0, *(d + 1 for d in dims)]}
    for name in _AXES:
        given = bound.get(name)
        axes = given if isinstance(given, list) else [given]
        if given is None or any(not isinstance(d, int) for d in axes):
            continue
        counted = [int(d) % rank - rank for d in axes if d is not None]
        if -rank in counted and kind != "slice":
            raise Blocked(MIXED)
        changed[name] = counted if isinstance(given, list) else counted[0]
    return changed


def windows_second(lowering: Lowering, x: Data, dims: list[int]) -> Data:
    """Axes in another order that puts batch and windows, which run together, second."""
    own = [0, dims[0] + 1, 1, *(d + 1 for d in dims[2:])]
    name = lowering.builder.emit("permute", x.name, dims=own)
    shape = tuple(x.shape[d - 1] for d in own[1:])
    return Data(name, shape, stacked=True, folded=True)


def merged(function: Lowered, lowering: Lowering, bound: dict[str, Any]) -> Data:
    """A convolution or a pool of every window: the windows of a sample as groups of channels."""
    name = "input" if "input" in bound else "self"
    x: Data = bound[name]
    if x.low:
        raise Blocked("its windows are padded with minus infinity")
    count, channels, *places = x.shape
    outside, emit = lowering.shape, lowering.builder.emit
    flat = Data(
        emit("reshape", x.name, shape=[count * channels, *places]), (count * channels, *places)
    )
    given = {**bound, name: flat}
    for held in ("weight", "bias"):
        if isinstance(bound.get(held), Constant):
            given[held] = _times(bound[held], count)
    if "groups" in bound:
        given["groups"] = bound["groups"] * count
    lowering.shape = (outside[0] * outside[1], *outside[2:])
    try:
        made = function(lowering, **given)
    finally:
        lowering.shape = outside
    return Data(emit("reshape", made, shape=list(outside)), outside, folded=True)


def _times(constant: Constant, count: int) -> Constant:
    """The weights of every window's channels, one after the other."""
    value = constant.value
    return Constant(value.repeat(count, *[1] * (value.dim() - 1)), f"{constant.name}.windows")


def _with_windows(equation: str, tensors: list[Any]) -> str:
    """Einstein's sum of values that have the windows of each sample behind the batch."""
    left, arrow, out = equation.replace(" ", "").partition("->")
    sides = left.split(",")
    unused = next(c for c in ascii_letters if c not in equation)
    batches = {s[:1] for s, t in zip(sides, tensors, strict=True) if isinstance(t, Data)}
    if "." in equation or not arrow or len(batches) != 1 or out[:1] not in batches:
        raise Blocked(MIXED)
    wide = [
        s[0] + unused + s[1:] if isinstance(t, Data) else s
        for s, t in zip(sides, tensors, strict=True)
    ]
    return f"{','.join(wide)}->{out[0]}{unused}{out[1:]}"


def repeated(lowering: Lowering, x: Data, bound: dict[str, Any]) -> Data:
    """Every sample some times in a row: one for each window of it."""
    if bound.get("dim") != 0:
        raise Blocked(MIXED)
    count, emit = lowering.shape[0], lowering.builder.emit
    name = emit("reshape", x.name, shape=[1, *x.shape])
    ones = torch.ones(1, count, *[1] * len(x.shape))
    name = emit("scale", name, lowering.filled(ones, "factor"))
    return Data(name, (count, *x.shape), folded=True)


def heads_beside(
    kind: str, data: Sequence[Data], shape: tuple[Any, ...], batch: str
) -> Data | None:
    """A value whose batch stands second, copied, or its batch and the axis behind it run together:
    (3, B, heads, ...) becomes (3, B * heads, ...); None for all else."""
    x = data[0]
    if len(data) != 1 or not x.stacked or x.folded or not x.sound:
        return None
    if kind in ("clone", "contiguous"):
        return x
    inside = folded_shape(shape[1:], batch) if kind in RESHAPES else None
    fits = inside == x.shape[1:] and shape[0] == x.shape[0]
    return replace(x, folded=True) if fits else None
