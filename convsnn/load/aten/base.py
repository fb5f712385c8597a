"""What the ATen families share: values (data, constants, numbers), the table, what was read."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node as FxNode

from convsnn.errors import UnsupportedError
from convsnn.load.builder import RETRAIN, Builder


@dataclass(frozen=True)
class Data:
    """A value that depends on the input: its node and the shape of one sample.

    `sound` is False behind an op that lost the batch axis: what follows is only named. `low` are
    paddings with minus infinity, in torch's order, that only max-pooling can take up. `stacked`
    says that torch has the batch second and the first axis of `shape` before it, `folded` that it
    runs the batch and the first axis of `shape` together.
    """

    name: str
    shape: tuple[int, ...]
    sound: bool = True
    low: tuple[int, ...] = ()
    stacked: bool = False
    folded: bool = False


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
    "MIXED",
    "RETRAIN",
    "Blocked",
    "Constant",
    "Data",
    "Lowering",
    "aten",
    "refuse",
    "sample_shape",
]

MASKS = frozenset({"gt", "ge", "lt", "le"})  # their results are truth values, kept as 0 and 1
MIXED = "it moves or mixes the batch axis"


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
        shape = sample_shape(node.meta["val"], self.batch)
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


def sample_shape(value: Any, batch: str = "") -> tuple[int, ...] | None:
    """Shape without the batch; None where the batch is not the first axis, and only that.

    `batch` is the symbol that torch.export gave the batch, or the size that stands for it; "" where
    any symbol will do.
    """
    shape = tuple(value.shape)
    if not shape or not all(isinstance(s, int) for s in shape[1:]):
        return None
    if not batch:
        return None if isinstance(shape[0], int) else shape[1:]
    return shape[1:] if batch == str(shape[0]) else None


def folded_shape(shape: tuple[Any, ...], batch: str) -> tuple[int, ...] | None:
    """Shape with the windows of each sample first, where torch runs these together with the batch
    on one axis, the windows of a sample side by side; None where it does not."""
    if not shape or not batch or not all(isinstance(s, int) for s in shape[1:]):
        return None
    first = shape[0]
    if batch.isdigit():
        fits = isinstance(first, int) and first % int(batch) == 0 and first > int(batch)
        return (first // int(batch), *shape[1:]) if fits else None
    if isinstance(first, int):
        return None
    quotient = first.node.expr / next(
        (s for s in first.node.expr.free_symbols if str(s) == batch), 1
    )
    if not quotient.is_Integer or int(quotient) < 2:
        return None
    return (int(quotient), *shape[1:])
