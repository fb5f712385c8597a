"""What neurons share that follow the activation of their accumulated current."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from convsnn.neurons.base import State, as_tensor


@dataclass(frozen=True)
class FollowingState(State):
    """Beside potential and threshold, all current so far, all that was sent, and the steps."""

    total: Tensor
    sent: Tensor
    step: int


_Kept = TypeVar("_Kept", bound=State)


def at_rest(
    kind: Callable[[Tensor, Tensor, Tensor, Tensor, int], _Kept], start: Tensor, threshold: Tensor
) -> _Kept:
    """The state of a `kind` before the first step: nothing came and nothing was sent."""
    zero = torch.zeros_like(start)
    return kind(start, threshold, zero, zero, 0)


def followed(total: Tensor, step: int, *, slope: Tensor | None, ceiling: Tensor | None) -> Tensor:
    """f_t(S) = t f(S / t) of the current `total` of `step` steps: slope * S for S < 0 (None: 0),
    min(S, t * ceiling) above."""
    if slope is not None:
        value = torch.where(total > 0, total, total * as_tensor(slope, total))
    else:
        value = total.clamp(min=0)
    if ceiling is not None:
        value = torch.minimum(value, as_tensor(ceiling, total) * step)
    return value
