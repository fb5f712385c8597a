"""Functions and products, step by step: the running difference of what they make of the means.

    y(t) = t f(S(t) / t) - (t - 1) f(S(t-1) / (t-1))        S(t) the sums of t steps of the inputs

For a product of a and b that is, with P(t) = S_A(t) S_B(t), the difference of P(t) / t, which a
network of adders gets by three terms a step (see `convsnn.graph.ops.products`); one product of the
sums is the same number. What was passed on adds up to t f(means) after every step.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

State = tuple[Tensor, ...]


def difference(
    run: Callable[..., Tensor], inputs: Sequence[Tensor], state: Any, steps: range
) -> tuple[Tensor, State]:
    """What is passed on at `steps`, and the state after: the sums of the inputs, (B, ...), and
    what was passed on in all. `inputs` are (Tc, B, ...) each."""
    sums = [value.cumsum(0) for value in inputs]
    if state is not None:
        sums = [total + before for total, before in zip(sums, state[:-1], strict=True)]
    time = torch.arange(steps.start + 1, steps.stop + 1, dtype=sums[0].dtype, device=sums[0].device)
    means = [total / _along(time, total) for total in sums]
    found = run(*(mean.flatten(0, 1) for mean in means)).unflatten(0, (len(steps), -1))
    found = found * _along(time, found)
    before = torch.zeros_like(found[0]) if state is None else state[-1]
    passed = torch.diff(found, dim=0, prepend=before[None])
    return passed, (*(total[-1] for total in sums), found[-1])


def _along(time: Tensor, like: Tensor) -> Tensor:
    return time.reshape(-1, *[1] * (like.dim() - 1))
