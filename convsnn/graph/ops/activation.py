"""Activations that become neurons, readouts allowed at the very end, and what blocks."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from convsnn.errors import UnsupportedError
from convsnn.graph.ops.base import Role, op


@op("input", Role.INPUT)
def input_(x: Tensor, *, shape: Sequence[int]) -> Tensor:
    """The network's input; `shape` is that of one sample."""
    del shape
    return x


@op("relu", Role.ACTIVATION)
def relu(x: Tensor) -> Tensor:
    """max(x, 0)."""
    return F.relu(x)


@op("clip", Role.ACTIVATION)
def clip(x: Tensor, *, ceiling: float) -> Tensor:
    """min(max(x, 0), ceiling): ReLU6, hardtanh(0, c), clamp(0, c)."""
    return x.clamp(0.0, ceiling)


@op("leaky_relu", Role.ACTIVATION)
def leaky_relu(x: Tensor, slope: Tensor) -> Tensor:
    """x where x > 0, else slope * x; the slope has batch axis 1 and the rank of x (PReLU)."""
    return torch.where(x > 0, x, x * slope)


@op("quantized_clip", Role.ACTIVATION)
def quantized_clip(
    x: Tensor, *, ceiling: float, levels: int, shift: float, even: bool = False
) -> Tensor:
    """ceiling / levels * floor(clip(x, 0, ceiling) * levels / ceiling + shift), shift in [0, 1).

    QCFS has a shift of 1/2. `even` (with a shift of 1/2) rounds ties to even instead of up, as
    the rounding of torch and ONNX does; neurons always round them up.
    """
    place = x.clamp(0.0, ceiling) * (levels / ceiling)
    level = torch.round(place) if even else torch.floor(place + shift)
    return level * (ceiling / levels)


@op("code", Role.ACTIVATION)
def code(x: Tensor, *, axis: int) -> Tensor:
    """x itself, sent on in spikes of either sign: what stands before weights and products behind
    something smooth (`convsnn.passes.coding`). Thresholds differ along `axis` of a sample."""
    del axis
    return x


@op("softmax", Role.READOUT)
def softmax(x: Tensor, *, dim: int) -> Tensor:
    """Softmax over axis `dim`."""
    return torch.softmax(x, dim)


@op("log_softmax", Role.READOUT)
def log_softmax(x: Tensor, *, dim: int) -> Tensor:
    """Logarithm of softmax over axis `dim`."""
    return torch.log_softmax(x, dim)


@op("sigmoid", Role.READOUT)
def sigmoid(x: Tensor) -> Tensor:
    """Logistic function."""
    return torch.sigmoid(x)


@op("opaque", Role.BLOCKED)
def opaque(*inputs: Tensor, kind: str, reason: str, remedy: str, shape: Sequence[int]) -> Tensor:
    """An op that a loader met and cannot convert; kept so that all of them are named at once."""
    if all(x.is_meta for x in inputs):
        return torch.empty((inputs[0].shape[0] if inputs else 1, *shape), device="meta")
    raise UnsupportedError(f"{kind} cannot be run: {reason}", hint=remedy)
