"""Walks an exported program: each op on constants is evaluated, each op on data lowered."""

import operator
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node as FxNode

from convsnn.errors import out_of_memory
from convsnn.load.aten.base import (
    LOWERINGS,
    MASKS,
    MIXED,
    Blocked,
    Constant,
    Data,
    Lowered,
    Lowering,
    folded_shape,
    sample_shape,
)
from convsnn.load.aten.folded import (
    CHANNELLED,
    RESHAPES,
    heads_beside,
    in_windows,
    merged,
    rank_of,
    repeated,
    windows_second,
)

_WHOLE = MASKS | {"argmax", "max"}  # ops that make whole numbers out of real ones, written as such
# what reads a value whose batch stands second, as torch.stack(..., 0) makes it
_BESIDE_BATCH = frozenset(("sum", "mean", "select", "unbind", "transpose", "permute", "slice"))
_MOVES_BATCH = frozenset(("stack", "transpose", "permute"))  # what may put the batch second
_MADE = frozenset(("new_zeros", "new_ones", "new_full"))
_FILLS = {"new_zeros": 0.0, "new_ones": 1.0}
_UNSIZED = "how many elements it gives depends on values; pick by a list of numbers instead"
_HANDS_ON = frozenset(
    ("_to_copy", "to", "view", "reshape", "squeeze", "unsqueeze", "flatten", "clone", "contiguous")
)


def _resolve(lowering: Lowering, argument: Any) -> Any:
    if isinstance(argument, FxNode):
        return lowering.values[argument.name]
    if isinstance(argument, (list, tuple)):
        return [_resolve(lowering, item) for item in argument]
    return argument


def _parts(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def lower(lowering: Lowering, node: FxNode) -> None:
    """Read one traced op into the graph."""
    args = [_resolve(lowering, a) for a in node.args]
    kwargs = {k: _resolve(lowering, a) for k, a in node.kwargs.items()}
    if node.target is operator.getitem:
        source = args[0]
        lowering.values[node.name] = source[args[1]] if isinstance(source, tuple) else source
        return
    flat = [p for a in [*args, *kwargs.values()] for p in _parts(a)]
    data = [v for v in flat if isinstance(v, Data)]
    if not data:
        lowering.values[node.name] = _fold(lowering, node, args, kwargs)
        return
    if not isinstance(node.meta.get("val"), (Tensor, list, tuple)):
        lowering.values[node.name] = None  # a size: shapes come from the traced values instead
        return
    lowering.values[node.name] = _lower_data(lowering, node, data, args, kwargs)


def _fold(lowering: Lowering, node: FxNode, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Evaluate an op on constants."""

    def plain(value: Any) -> Any:
        if isinstance(value, Constant):
            return value.value
        if isinstance(value, list):
            return [plain(v) for v in value]
        return value

    value = node.meta.get("val")
    if not isinstance(value, (Tensor, list, tuple)):
        return None
    name = f"{lowering.builder.layer}.constant"
    sized = any(lowering.values.get(n.name, 0) is None for n in node.all_input_nodes)
    if sized:  # its shape depends on the batch
        return _fold_over_batch(lowering, node, value, plain(args[0]) if args else None, name)
    with torch.no_grad():
        result = node.target(  # type: ignore[operator]
            *[plain(a) for a in args], **{k: plain(v) for k, v in kwargs.items()}
        )
    if isinstance(result, Tensor):
        return Constant(_without_batch(lowering, result), name)
    return tuple(Constant(r, name) for r in result)


def _without_batch(lowering: Lowering, value: Tensor) -> Tensor:
    """A constant that was repeated for every sample, where a size stands for the batch, once."""
    size = int(lowering.batch) if lowering.batch.isdigit() else 0
    if value.dim() and len(value) == size and (value.is_meta or bool((value == value[:1]).all())):
        return value[:1]
    return value


def _fold_over_batch(
    lowering: Lowering, node: FxNode, value: Any, first: Any, name: str
) -> "Constant | Data":
    """A constant that is the same for every sample, or an opaque node where that is not known."""
    kind = getattr(node.target, "_opname", str(node.target))
    shape = sample_shape(value, lowering.batch) if isinstance(value, Tensor) else None
    fits = isinstance(first, Tensor) and (first.dim() <= len(shape or ()) or first.shape[0] == 1)
    if isinstance(first, Tensor) and kind in RESHAPES:
        fits = first.shape[:1] == (1,)
    if kind == "expand" and shape is not None and fits:
        return Constant(first.expand(1, *shape), name)
    if kind == "repeat" and shape is not None and fits:
        counts = list(node.args[1])  # type: ignore[arg-type]
        return Constant(first.repeat(1, *counts[1:]), name)
    if kind in RESHAPES and shape is not None and fits and first.numel() == prod(shape):
        return Constant(first.reshape(1, *shape), name)
    fills: dict[str, Any] = {"zeros": 0.0, "ones": 1.0}
    fill = node.args[1] if kind == "full" and len(node.args) > 1 else fills.get(kind)
    if shape is not None and isinstance(fill, (int, float)):
        return Constant(torch.full((1, *shape), float(fill)), name)
    reason = "a constant takes its size from the batch in a way that is not read"
    made = lowering.builder.opaque(kind=kind, reason=reason, remedy="", shape=shape or ())
    return Data(made, shape or (), sound=False)


def _is_whole(node: FxNode, kind: str) -> bool:
    """Whether a result that is no real number is kept as one: a decision, or one handed on."""
    first = node.args[0] if node.args else None
    value = first.meta.get("val") if isinstance(first, FxNode) else None
    handed_on = isinstance(value, Tensor) and not value.is_floating_point()
    return kind in _WHOLE or (handed_on and kind in _HANDS_ON)


def _call(function: Lowered, lowering: Lowering, arguments: dict[str, Any]) -> Any:
    try:
        return function(lowering, **arguments)
    except (
        TypeError, ValueError, IndexError, KeyError, AttributeError, ArithmeticError, RuntimeError,
    ) as error:  # fmt: skip
        if out_of_memory(error):
            raise
        raise Blocked(f"this use of it is not read: {error}", "") from None


def _lower_data(
    lowering: Lowering, node: FxNode, data: list[Data], args: list[Any], kwargs: dict[str, Any]
) -> Any:
    values = node.meta["val"]
    many = isinstance(values, (list, tuple))
    tensors = [v for v in (values if many else [values]) if isinstance(v, Tensor)]
    shapes = [sample_shape(v, lowering.batch) for v in tensors]
    folds = [
        None if s else folded_shape(tuple(v.shape), lowering.batch)
        for s, v in zip(shapes, tensors, strict=True)
    ]
    shapes = [s if f is None else f for s, f in zip(shapes, folds, strict=True)]
    folded = folds[:1] != [None]
    kind = getattr(node.target, "_opname", str(node.target))
    whole = not many and all(isinstance(size, int) for size in tensors[0].shape)
    if kind in _MADE and whole and shapes[0] is None:  # it only takes its type from the data
        made_of = _FILLS.get(kind, args[2] if len(args) > 2 else 0.0)
        value = torch.full(tuple(tensors[0].shape), float(made_of), dtype=tensors[0].dtype)
        return Constant(value, f"{lowering.builder.layer}.constant")
    if (beside := heads_beside(kind, data, tuple(tensors[0].shape), lowering.batch)) is not None:
        return beside
    try:
        lowering.op, lowering.shape = kind, shapes[0] or ()
        function = _readable(node, kind, data, tensors[0], shapes[0])
        bound = _bound(node, args, kwargs)
        if hasattr(function, "refuses"):
            function(lowering)
        if kind == "permute" and data[0].folded and bound["dims"][1] == 0:
            return windows_second(lowering, data[0], bound["dims"])
        if kind == "repeat_interleave" and folded and not data[0].folded:
            return repeated(lowering, data[0], bound)
        if data[0].folded and kind in CHANNELLED:
            return _call(partial(merged, function), lowering, {"bound": bound})
        bound = in_windows(kind, bound, data, folded=folded, rank=rank_of(node))
        result = _call(function, lowering, _beside_batch(kind, bound, shapes[0]))
    except Blocked as refused:
        sound = None not in shapes and all(d.sound for d in data)
        parts = []
        for shape in shapes:
            name = lowering.builder.opaque(
                *dict.fromkeys(d.name for d in data),
                kind=kind.strip("_"),
                reason=refused.reason,
                remedy=refused.remedy,
                shape=shape or (),
            )
            parts.append(Data(name, shape or (), sound, folded=folded))
        return tuple(parts) if many else parts[0]
    if isinstance(result, tuple):
        return tuple(Data(n, s or (), folded=folded) for n, s in zip(result, shapes, strict=True))
    if isinstance(result, Data):
        return replace(result, folded=folded)
    if isinstance(result, Constant):
        return result
    made = Data(result, shapes[0] or (), folded=folded)
    return (made, *[None] * (len(values) - 1)) if many else made


def _readable(
    node: FxNode, kind: str, data: list[Data], value: Tensor, shape: tuple[int, ...] | None
) -> Lowered:
    """The function that lowers an op; Blocked where it is not read on such data."""
    function = LOWERINGS.get(kind)
    if function is None:
        raise Blocked(f"the op {kind} has no spiking form here", "")
    if hasattr(function, "refuses"):
        return function
    if not all(d.sound for d in data):
        raise Blocked("")  # it only follows what is refused already
    unsized = any(not isinstance(size, int) for size in value.shape[1:])
    if shape is None and unsized and kind not in _MOVES_BATCH:
        raise Blocked(_UNSIZED if isinstance(value.shape[0], torch.SymInt) else MIXED)
    if shape is None and kind not in _MOVES_BATCH:
        raise Blocked(MIXED)
    if not value.is_floating_point() and not _is_whole(node, kind):
        raise Blocked(f"its result is of type {value.dtype}, not a real number")
    if any(d.low for d in data) and not kind.startswith("max_pool"):
        raise Blocked("its input is padded with minus infinity, which only max pooling reads")
    if any(d.stacked for d in data) and kind not in _BESIDE_BATCH:
        raise Blocked(MIXED)
    return function


def _bound(node: FxNode, args: list[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of an op by the names of its schema, defaults included."""
    names = node.target._schema.arguments  # type: ignore[union-attr]
    bound = {a.name: a.default_value for a in names if a.has_default_value()}
    bound.update({a.name: v for a, v in zip(names, args, strict=False)})
    return {**bound, **kwargs}


def _beside_batch(
    kind: str, bound: dict[str, Any], shape: tuple[int, ...] | None
) -> dict[str, Any]:
    """The arguments of an op on a value whose batch is its second axis, as if it were the first."""
    x = bound.get("self")
    if not isinstance(x, Data) or not x.stacked:
        return bound
    place = {0: 1, 1: 0}
    plain = replace(x, stacked=False)
    if kind == "permute":
        dims = [d % (len(x.shape) + 1) for d in bound["dims"]]
        return {**bound, "self": plain, "dims": [place.get(d, d) for d in dims]}
    if shape is None:
        raise Blocked(MIXED)
    if kind == "transpose":
        swapped = {bound["dim0"] % (len(x.shape) + 1), bound["dim1"] % (len(x.shape) + 1)}
        if swapped != {0, 1}:
            raise Blocked(MIXED)
        return {**bound, "self": plain, "dim0": 0, "dim1": 0}
    dims = bound["dim"] if isinstance(bound["dim"], list) else [bound["dim"]]
    if None in dims:
        raise Blocked(MIXED)
    moved = [place.get(d % (len(x.shape) + 1), d) for d in dims]
    return {**bound, "self": plain, "dim": moved if isinstance(bound["dim"], list) else moved[0]}
