"""Walks an exported program: values are data (a node's name), constants, or plain numbers."""

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node as FxNode

from convsnn.errors import UnsupportedError, out_of_memory
from convsnn.load.builder import RETRAIN, Builder


@dataclass(frozen=True)
class Data:
    """A value that depends on the input: its node and the shape of one sample.

    `sound` is False behind an op that lost the batch axis: what follows is only named. `low` are
    paddings with minus infinity, in torch's order, that only max-pooling can take up.
    """

    name: str
    shape: tuple[int, ...]
    sound: bool = True
    low: tuple[int, ...] = ()


@dataclass(frozen=True)
class Constant:
    """A tensor that does not depend on the input, and the name it is stored under."""

    value: Tensor
    name: str


class Blocked(Exception):
    """Raised by a lowering that meets a use it cannot convert; becomes an opaque node."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.reason, self.remedy = reason, remedy


__all__ = [
    "LOWERINGS",
    "MASKS",
    "RETRAIN",
    "Blocked",
    "Constant",
    "Data",
    "Lowering",
    "aten",
    "lower",
    "refuse",
]

MASKS = frozenset({"gt", "ge", "lt", "le"})  # their results are truth values, kept as 0 and 1

Lowered = Callable[..., Any]
LOWERINGS: dict[str, Lowered] = {}


def aten(*names: str) -> Callable[[Lowered], Lowered]:
    """Decorator: lower the ATen ops `names` (without overload) by this function.

    It gets the `Lowering` and the op's schema arguments by name, and returns a node's name, a
    tuple of them, or the same Data for an op that does nothing.
    """

    def enter(function: Lowered) -> Lowered:
        for name in names:
            if name in LOWERINGS:
                raise ValueError(f"aten op '{name}' is lowered twice")
            LOWERINGS[name] = function
        return function

    return enter


def refuse(*names: str, reason: str, remedy: str = RETRAIN) -> None:
    """Enter ATen ops that are always refused, with a reason of their own."""

    def refusal(lowering: "Lowering", **arguments: Any) -> str:
        del lowering, arguments
        raise Blocked(reason, remedy)

    refusal.refuses = True  # type: ignore[attr-defined]
    aten(*names)(refusal)


@dataclass
class Lowering:
    """What has been read so far: fx nodes to values."""

    builder: Builder
    values: dict[str, Any] = field(default_factory=dict)
    batch: str = ""  # the symbol of the batch axis
    op: str = ""  # the ATen op that is being lowered
    shape: tuple[int, ...] = ()  # of one sample of its (first) result

    def enter_constant(self, node: FxNode, value: Tensor, name: str) -> None:
        """A parameter, buffer or constant of the program."""
        self.values[node.name] = Constant(value, name)

    def enter_input(self, node: FxNode) -> None:
        """A data input of the program."""
        shape = _sample_shape(node.meta["val"])
        if shape is None:
            raise UnsupportedError(
                f"input '{node.name}': the network fixes its batch size",
                hint="write the module so that the first axis may have any size",
            )
        self.batch = self.batch or str(node.meta["val"].shape[0])
        self.builder.layer = node.name
        name = self.builder.emit("input", shape=list(shape))
        self.values[node.name] = Data(name, shape)

    def output(self, node: FxNode) -> str:
        """The node behind one output of the program."""
        value = self.values[node.name]
        if not isinstance(value, Data):
            raise UnsupportedError(f"output '{node.name}' does not depend on the input")
        if value.low:
            raise UnsupportedError(f"output '{node.name}' holds minus infinity")
        return value.name

    def tensor(self, constant: Constant, suffix: str = "") -> str:
        """Store a constant in the graph; returns its name."""
        return self.builder.constant(constant.value, constant.name + suffix)

    def beside(self, value: Any, role: str, rank: int) -> str:
        """A number or tensor as a constant that broadcasts over the batch of a value of `rank`."""
        if not isinstance(value, Constant):
            return self.filled(torch.full((1,) * rank, float(value)), role)
        missing = rank - value.value.dim()
        if missing > 0:
            return self.filled(value.value.reshape((1,) * missing + value.value.shape), role)
        if missing < 0 or value.value.shape[0] != 1:
            raise Blocked("a constant with a batch axis of its own is combined with the data")
        return self.tensor(value)

    def filled(self, value: Tensor, role: str) -> str:
        """Store a tensor that torch left out or that was computed here."""
        return self.builder.constant(value, f"{self.builder.layer}.{role}")


def _sample_shape(value: Any, batch: str = "") -> tuple[int, ...] | None:
    """Shape without the batch; None where the batch is not the first axis, and only that.

    `batch` is the symbol that torch.export gave the batch, "" where any will do.
    """
    shape = tuple(value.shape)
    if not shape or isinstance(shape[0], int) or not all(isinstance(s, int) for s in shape[1:]):
        return None
    return shape[1:] if batch in ("", str(shape[0])) else None


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
        return Constant(result, name)
    return tuple(Constant(r, name) for r in result)


def _fold_over_batch(
    lowering: Lowering, node: FxNode, value: Any, first: Any, name: str
) -> "Constant | Data":
    """A constant that is the same for every sample, or an opaque node where that is not known."""
    kind = getattr(node.target, "_opname", str(node.target))
    shape = _sample_shape(value, lowering.batch) if isinstance(value, Tensor) else None
    fits = isinstance(first, Tensor) and (first.dim() <= len(shape or ()) or first.shape[0] == 1)
    if kind == "expand" and shape is not None and fits:
        return Constant(first.expand(1, *shape), name)
    fills: dict[str, Any] = {"zeros": 0.0, "ones": 1.0}
    fill = node.args[1] if kind == "full" and len(node.args) > 1 else fills.get(kind)
    if shape is not None and isinstance(fill, (int, float)):
        return Constant(torch.full((1, *shape), float(fill)), name)
    reason = "a constant takes its size from the batch in a way that is not read"
    made = lowering.builder.opaque(kind=kind, reason=reason, remedy="", shape=shape or ())
    return Data(made, shape or (), sound=False)


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
    shapes = [_sample_shape(v, lowering.batch) for v in tensors]
    kind = getattr(node.target, "_opname", str(node.target))
    function = LOWERINGS.get(kind)
    try:
        if function is None:
            raise Blocked(f"the op {kind} has no spiking form here", "")
        if not all(d.sound for d in data) and not hasattr(function, "refuses"):
            raise Blocked("")  # it only follows what is refused already
        if shapes[0] is None:
            raise Blocked("it moves or mixes the batch axis")
        if not tensors[0].is_floating_point() and kind not in MASKS:
            raise Blocked(f"its result is of type {tensors[0].dtype}, not a real number")
        if any(d.low for d in data) and not kind.startswith("max_pool"):
            raise Blocked("its input is padded with minus infinity, which only max pooling reads")
        lowering.op, lowering.shape = kind, shapes[0]
        names = node.target._schema.arguments  # type: ignore[union-attr]
        bound = {a.name: a.default_value for a in names if a.has_default_value()}
        bound.update({a.name: v for a, v in zip(names, args, strict=False)})
        result = _call(function, lowering, {**bound, **kwargs})
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
            parts.append(Data(name, shape or (), sound))
        return tuple(parts) if many else parts[0]
    if isinstance(result, tuple):
        return tuple(Data(n, s or ()) for n, s in zip(result, shapes, strict=True))
    if isinstance(result, (Data, Constant)):
        return result
    made = Data(result, shapes[0] or ())
    return (made, *[None] * (len(values) - 1)) if many else made
