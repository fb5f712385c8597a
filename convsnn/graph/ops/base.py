"""The op table: for each op how torch runs it, what it means for a spiking network, its MACs.

Every value carries the batch on axis 0. Attributes are plain JSON values. Padding is written
[begin of every spatial axis..., end of every spatial axis...], as ONNX does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from torch import Tensor


class Role(Enum):
    """What becomes of an op when the network runs in time steps."""

    INPUT = "input"
    LINEAR = "linear"  # affine in its data inputs: its time average is exact, step by step
    ACTIVATION = "activation"  # becomes neurons
    MAX_POOL = "max_pool"  # neither linear nor a neuron: rewritten by an option of the conversion
    FUNCTION = "function"  # not linear and without state: computed on accumulated values
    PRODUCT = "product"  # of two values that both change over time
    READOUT = "readout"  # allowed behind the last neuron only: applied to the accumulated answer
    BLOCKED = "blocked"  # would stay analog; stops the conversion


@dataclass(frozen=True)
class Arithmetic:
    """What a function or a product takes; `lookups` are elementary functions (an exponential, a
    root, a reciprocal, GELU), each of which a chip reads off a table."""

    additions: int = 0
    multiplications: int = 0
    comparisons: int = 0
    lookups: int = 0

    def __mul__(self, times: int) -> "Arithmetic":
        return Arithmetic(*(count * times for count in vars(self).values()))

    def __add__(self, other: "Arithmetic") -> "Arithmetic":
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Arithmetic(*(mine + theirs for mine, theirs in pairs))


Shape = Sequence[int]
MacCount = Callable[[Shape, Shape, Shape], int]
DenseCount = Callable[[Sequence[Shape], Shape, Mapping[str, Any]], Arithmetic]
SMOOTH = (Role.FUNCTION, Role.PRODUCT)


@dataclass(frozen=True)
class Op:
    """One row of the table; `macs(weight shape, input shape, output shape)` per sample.

    `dense(input shapes, output shape, attributes)` is what a function or a product takes per
    sample, whatever the spikes.
    """

    name: str
    role: Role
    run: Callable[..., Tensor]
    macs: MacCount | None = None
    dense: DenseCount | None = None


OPS: dict[str, Op] = {}


def op(
    name: str,
    role: Role = Role.LINEAR,
    macs: MacCount | None = None,
    dense: DenseCount | None = None,
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Decorator: enter a function `run(*tensors, **attributes) -> Tensor` into the table."""

    def enter(run: Callable[..., Tensor]) -> Callable[..., Tensor]:
        if name in OPS:
            raise ValueError(f"op '{name}' is in the table twice")
        OPS[name] = Op(name, role, run, macs, dense)
        return run

    return enter
