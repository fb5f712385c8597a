"""Values whose windows run with the batch on one axis: (B * k, ...) in torch, (k, ...) a sample.

Ops that neither take the axis behind for channels nor look at places work on each window alike;
their axes are counted from the end, where nothing has moved.
"""

from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.fx import Node as FxNode

from convsnn.load.aten.base import MIXED, Blocked, Data, Lowering

_RESHAPES = frozenset(("view", "reshape", "_unsafe_view", "flatten", "unflatten", "_reshape_copy"))
# what may work on windows that stand beside the samples on the batch axis: not what takes the
# axis behind it for channels, or looks at places
_FOLDED = _RESHAPES | frozenset((
    *("add", "sub", "mul", "div", "neg", "linear", "matmul", "bmm", "softmax", "_softmax"),
    *("layer_norm", "native_layer_norm", "rms_norm", "gelu", "silu", "relu", "sigmoid", "tanh"),
    *("permute", "transpose", "slice", "select", "split", "split_with_sizes", "unbind", "cat"),
    *("mean", "sum", "clone", "contiguous", "dropout", "scaled_dot_product_attention", "roll"),
    *("squeeze", "unsqueeze", "alias", "_to_copy", "linalg_vector_norm", "exp", "pow", "sqrt"),
    *("rsqrt", "clamp", "clamp_min", "hardswish", "expand"),
))  # fmt: skip
_AXES = ("dim", "dim0", "dim1", "dims")  # arguments that name axes


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
    if kind not in _FOLDED or (kind not in _RESHAPES and inside != {folded}):
        raise Blocked(MIXED)
    if kind in _RESHAPES:
        return bound
    changed = dict(bound)
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
