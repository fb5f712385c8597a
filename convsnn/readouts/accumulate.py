"""The answer up to each time step, from the outputs of a chunk of steps and the sums before it."""

from collections.abc import Mapping

import torch
from torch import Tensor

from convsnn.readouts import Readout

Sums = Mapping[str, Tensor]


def accumulate(
    readout: Readout, value: Tensor, steps: range, sums: Sums
) -> tuple[Tensor, dict[str, Tensor]]:
    """The readout of `value` (Tc, B, ...) at `steps`, and the sums (B, ...) to go on with.

    `sums` are those of the steps before; none at the start.
    """
    after = dict(sums)

    def running(name: str, part: Tensor) -> Tensor:
        summed = part.cumsum(0)
        if name in after:
            summed = summed + after[name]
        after[name] = summed[-1]
        return summed

    if readout.window:
        bias = after.setdefault("bias", value[0])  # nothing is sent in step 0
        flow = running("current", value - bias)
        return bias + running("total", flow) / readout.window, after
    weights, total = readout.weights(steps, value)
    mean = running("total", value * weights) / total.clamp(min=1)
    if not readout.delay:
        return mean, after
    _, number = Readout().weights(steps, value)
    so_far = running("so far", value) / number
    return torch.where(total > 0, mean, so_far), after
