"""What flows through a network being read: data, constants, what was lost; and how ops refuse."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convsnn.errors import LoadError
from convsnn.load.builder import FACTOR


class Blocked(Exception):
    """Raised by an op that meets a use it cannot convert; becomes an opaque node."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.reason, self.remedy = reason, remedy


class BatchMixed(LoadError):
    """A node moves, drops or mixes the batch axis."""


@dataclass(frozen=True)
class Data:
    """A value that depends on the input: its node, and the shape of one sample.

    Where the file runs the samples together, `dims` is the shape there, and `mixed` the error
    to raise unless a later node brings the batch axis back. Where it only moved the batch axis,
    `order` says which axis of the value, batch first, each axis of the file's is; with `windows`
    the file's second axis is batch and second axis run together (`convsnn.load.onnx.folded`).
    `low` are paddings with minus infinity, as Pad writes them, that only max-pooling can take up.
    """

    name: str
    shape: tuple[int, ...]
    integer: bool = False
    dims: tuple[int, ...] | None = None
    mixed: BatchMixed | None = None
    order: tuple[int, ...] | None = None
    low: tuple[int, ...] = ()
    windows: bool = False


@dataclass(frozen=True)
class Constant:
    """A value that does not depend on the input, and the name it has in the file."""

    name: str
    array: NDArray[Any]

    def number(self, what: str) -> float:
        """Its value where that is the same everywhere; Blocked where it is not."""
        if not self.array.size or np.any(self.array != self.array.flat[0]):
            raise Blocked(f"its {what} is not one number, but one for each channel", FACTOR)
        return float(self.array.flat[0])


@dataclass(frozen=True)
class Lost:
    """A value that can no longer be followed: what reads it is looked at for blockers only."""


Value = Data | Constant | Lost | None
Ints = Constant | Data | Sequence[int] | int | None


def as_data(value: Value) -> Data:
    """The input an op works on; Blocked where it is constant and another input is not."""
    if not isinstance(value, Data):
        raise Blocked("its first input is constant while another one depends on the input")
    return value


def as_constant(value: Value, what: str) -> Constant:
    """An input that must not depend on the network's input, such as a weight."""
    if not isinstance(value, Constant):
        raise Blocked(f"its {what} depends on the network's input")
    return value


def as_ints(value: Ints, what: str) -> list[int] | None:
    """Whole numbers from an attribute or a constant input; None where there are none."""
    if value is None:
        return None
    if isinstance(value, (Data, Constant)):
        return [int(v) for v in as_constant(value, what).array.reshape(-1)]
    return [value] if isinstance(value, int) else [int(v) for v in value]
