"""The op table: for each op how torch runs it, what it means for a spiking network, its MACs.

Every value carries the batch on axis 0. Attributes are plain JSON values. Padding is written
[begin of every spatial axis..., end of every spatial axis...], as ONNX does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

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


Shape = Sequence[int]
MacCount = Callable[[Shape, Shape, Shape], int]
DenseCount = Callable[[Sequence[Shape], Shape], int]
SMOOTH = (Role.FUNCTION, Role.PRODUCT)


@dataclass(frozen=True)
class Op:
    """One row of the table; `macs(weight shape, input shape, output shape)` per sample.

    `dense(input shapes, output shape)` is what a function or a product takes per sample, whatever
    the spikes: evaluations of the one, multiplications of the other.
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
