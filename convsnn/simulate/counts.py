"""Counts of events and synaptic operations: whole numbers, whatever the precision.

Both are one matrix product of what was sent, as bytes, with a column of ones and the digits of the
fan-out to the base 128, in 32-bit integers: nothing is rounded, and memory is read once.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

_BASE = 128


class Counter:
    """Counts what a node sends: samples of `shape`, `fan_out` (*shape) synapses behind each.

    `once` says that a value is 0 or one spike, so that its byte is the event.
    """

    def __init__(self, shape: Sequence[int], fan_out: Tensor | None, *, once: bool) -> None:
        self._once = once
        self._images = len(shape) == 3
        self._weighs = fan_out is not None
        behind = torch.zeros(tuple(shape)) if fan_out is None else fan_out.detach().cpu()
        left = (behind.movedim(0, -1) if self._images else behind).flatten().round().long()
        columns = [torch.ones_like(left)]
        while fan_out is not None and (bool(left.any()) or len(columns) == 1):
            columns.append(left % _BASE)
            left = left // _BASE
        self._columns = torch.stack(columns, 1)

    def __call__(self, value: Tensor) -> tuple[Tensor, Tensor | None]:
        """Events (Tc, B) of `value` (Tc, B, *shape), and times fan-out where there is one."""
        ordered = value.movedim(2, -1) if self._images else value
        bytes_ = ordered.to(torch.int8) if self._once else (ordered != 0).view(torch.int8)
        rows = bytes_.reshape(value.shape[0] * value.shape[1], -1)
        found = self._product(rows).unflatten(0, value.shape[:2])
        if not self._weighs:
            return found[..., 0], None
        powers = _BASE ** torch.arange(found.shape[2] - 1, device=found.device)
        return found[..., 0], (found[..., 1:] * powers).sum(2).double()

    def _product(self, rows: Tensor) -> Tensor:
        if rows.device.type == "cpu":
            return torch._int_mm(rows, self._columns.to(torch.int8)).long()
        columns = self._columns.to(rows.device)  # no integer products of any shape there
        return (rows.double() @ columns.double()).long()
