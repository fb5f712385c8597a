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

from convsnn.neurons.base import sequence_like

State = tuple[Tensor, ...]


def difference(
    run: Callable[..., Tensor], inputs: Sequence[Tensor], state: Any, steps: range
) -> tuple[Tensor, State]:
    """What is passed on at `steps`, and the state after: the sums of the inputs, (B, ...), and
    what was passed on in all. `inputs` are (Tc, B, ...) each."""
    before = [None] * len(inputs) if state is None else state[:-1]
    sums = [_summed(value, known) for value, known in zip(inputs, before, strict=True)]
    time = torch.arange(steps.start + 1, steps.stop + 1, dtype=sums[0].dtype, device=sums[0].device)
    means = [total / _along(time, total) for total in sums]
    found = run(*(mean.flatten(0, 1) for mean in means)).unflatten(0, (len(steps), -1))
    found = found.mul_(_along(time, found))
    passed = sequence_like(found)  # filled by `out=`: what is written to twice costs twice
    torch.sub(found[1:], found[:-1], out=passed[1:])
    torch.sub(found[0], 0.0 if state is None else state[-1], out=passed[0])
    return passed, (*(total[-1] for total in sums), found[-1])


def _summed(value: Tensor, before: Tensor | None) -> Tensor:
    """The sums up to each step of `value` (Tc, B, ...), on top of those of the steps `before`."""
    if value.element_size() < 4:  # torch adds these in a wider type
        total = value.cumsum(0)
        return total if before is None else total.add_(before)
    total = sequence_like(value)
    torch.add(value[0], 0.0 if before is None else before, out=total[0])
    for step in range(1, len(value)):
        torch.add(total[step - 1], value[step], out=total[step])
    return total


def _along(time: Tensor, like: Tensor) -> Tensor:
    return time.reshape(-1, *[1] * (like.dim() - 1))
