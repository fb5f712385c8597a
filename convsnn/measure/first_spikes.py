"""When each neuron of a batch fired first: two bytes per neuron, and one pass over what was sent.

Kept is who has fired, 0 or 1, and in how many steps that was so: each step adds the first to the
second. Bytes are added eight at a time, as one number of 64 bits, which no carry leaves.
"""

import torch
from torch import Tensor

_FULL = 255  # what a byte holds


class FirstSpikes:
    """Collects from chunk to chunk of `steps` steps."""

    def __init__(self, steps: int) -> None:
        self._steps, self._run, self._in_bytes = steps, 0, 0
        self._shape: tuple[int, ...] = ()
        self._fired: Tensor | None = None  # (B * neurons,), channels innermost
        self._bytes = torch.empty(0)  # steps since then
        self._more: Tensor | None = None  # those that no byte holds any more, int32

    def see(self, value: Tensor) -> None:
        """What the neurons sent in the next steps, (Tc, B, ...): anything but 0 is a spike."""
        rows = _channels_inside(value)
        self._shape = tuple(rows.shape[1:])
        for sent in (rows.reshape(len(rows), -1) != 0).view(torch.uint8):
            if self._fired is None:
                self._fired, self._bytes = torch.zeros_like(sent), torch.zeros_like(sent)
            if self._in_bytes == _FULL:
                self._more, self._in_bytes = self._since().int(), 0
                self._bytes.zero_()
            fired = _words(self._fired)
            fired.bitwise_or_(_words(sent))
            _words(self._bytes).add_(fired)
            self._in_bytes += 1
        self._run += len(rows)

    def _left(self) -> Tensor:
        """As `left`, (B * neurons,)."""
        assert self._fired is not None  # somebody fired or not: a step has been seen
        behind = self._steps - self._run
        return self._since() + self._fired.int() * behind if behind else self._since()

    def _since(self) -> Tensor:
        return self._bytes if self._more is None else self._more + self._bytes

    def left(self) -> Tensor:
        """Per neuron, (B, ...), the steps left at its first spike, that step included."""
        left = self._left().reshape(self._shape)
        return left.movedim(-1, 1) if left.dim() > 2 else left

    def counts(self, watched: Tensor) -> Tensor:
        """How many of the `watched` neurons (B, ...) have fired up to each step, (steps,)."""
        chosen = _channels_inside(watched[None]).reshape(-1)
        found = torch.bincount(self._left() * chosen, minlength=self._steps + 1)
        return found[1:].flip(0).cumsum(0).cpu()


def _channels_inside(value: Tensor) -> Tensor:
    """(Tc, B, C, ...) as (Tc, B, ..., C): how compiled neurons lay out what they send."""
    return value.movedim(2, -1) if value.dim() > 3 else value


def _words(bytes_: Tensor) -> Tensor:
    """The same memory in numbers of 64 bits, where it divides into them."""
    whole = len(bytes_) % 8 == 0 and bytes_.storage_offset() % 8 == 0
    return bytes_.view(torch.int64) if whole else bytes_
