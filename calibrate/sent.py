"""What a population sent, kept in little memory while the layers behind it are calibrated."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convsnn.neurons.base import sequence_like


@dataclass(frozen=True)
class Sent:
    """What a population sent, (T, B, ...): values, or spikes times a threshold, where `bits` says
    so eight steps to a byte, on the device they were sent on.

    Where spikes have a sign, `negative` holds the bits of the negative ones.
    """

    data: Tensor
    threshold: Tensor
    steps: int
    bits: bool = False
    negative: Tensor | None = None
    parts: int = 0  # of which the data are numbers, where layers fire one after another

    @property
    def nbytes(self) -> int:
        """Bytes that are held."""
        return self.data.nbytes + (0 if self.negative is None else self.negative.nbytes)

    @staticmethod
    def pack(values: Tensor, threshold: Tensor, *, plain: bool = False) -> "Sent":
        """Keep `values` exactly, as bits where each is zero or the threshold with either sign;
        with `plain` all are known to be zero or the threshold."""
        plus = values > 0
        if plain or torch.equal(torch.where(plus, threshold, 0.0), values):
            return Sent(_packed(plus), threshold, len(values), True)
        if torch.equal(values.sign() * threshold, values):
            return Sent(_packed(plus), threshold, len(values), True, _packed(values < 0))
        return Sent(values, threshold, len(values))

    @staticmethod
    def count(values: Tensor, threshold: Tensor, parts: int) -> "Sent":
        """Keep `values`, n * threshold / parts, as n in a byte each where that holds them."""
        numbers = torch.round(values * parts / threshold)
        byte = torch.int8 if bool((numbers < 0).any()) else torch.uint8
        small = numbers.abs().max() <= torch.iinfo(byte).max
        if small and torch.equal(numbers * threshold / parts, values):
            return Sent(numbers.to(byte), threshold, len(values), parts=parts)
        return Sent(values, threshold, len(values))

    def values(self, steps: int) -> Tensor:
        """The values that were packed, of the first `steps` at most."""
        if self.bits:
            return self._spikes(min(steps, self.steps)).to(self.threshold).mul_(self.threshold)
        kept = self.data[:steps]
        return kept.to(self.threshold) * self.threshold / self.parts if self.parts else kept

    def means(self, at: Sequence[int]) -> Tensor:
        """Means over the first t steps for each t of `at`, which rises, (len(at), B, ...); of what
        is the same at every step, (1, B, ...)."""
        if self.steps == 1 or (len(self.data) == 1 and not self.bits):
            return self.values(1)
        if not self.bits:
            return torch.stack(means(self.values(at[-1]), at))
        spikes = self._spikes(min(at[-1], self.steps))
        # counted in bytes, up to 127 steps at once: a few times sooner than in wider numbers
        narrow = spikes.dtype if len(spikes) < 128 else torch.int32
        found = torch.stack(means(spikes, at, sums=narrow)).to(self.threshold)
        steps = torch.tensor(at, device=found.device).view(-1, *[1] * (found.dim() - 1))
        return found.mul_(self.threshold).div_(steps)

    def _spikes(self, count: int) -> Tensor:
        spikes = _unpacked(self.data, count)
        return spikes if self.negative is None else spikes - _unpacked(self.negative, count)


def means(values: Tensor, at: Sequence[int], *, sums: torch.dtype | None = None) -> list[Tensor]:
    """Means of `values` (T, B, ...) over the first t steps for each t of `at`, which rises;
    (1, B, ...) is the same at every step. With `sums` the sums, in that type."""
    if len(values) == 1:
        return [values[0]] * len(at)
    wide = sums or torch.promote_types(values.dtype, torch.float32)
    found, total, start = [], torch.zeros_like(values[0], dtype=wide), 0
    for step in at:
        for value in values[start:step]:  # many times sooner than a sum over the first axis
            total += value
        found.append(total.clone() if sums else (total / step).to(values.dtype))
        start = step
    return found


def _packed(bits: Tensor) -> Tensor:
    """`bits` (T, ...) as bytes (T / 8, ...), the first step in the highest bit."""
    steps = bits.view(torch.uint8)
    bytes_ = sequence_like(steps[: -(-len(steps) // 8)]).zero_()
    for place in range(min(8, len(steps))):
        part = steps[place::8]
        bytes_[: len(part)] |= part << (7 - place)
    return bytes_


def _unpacked(bytes_: Tensor, count: int) -> Tensor:
    """The first `count` steps, 0 or 1."""
    steps = sequence_like(bytes_[:1].expand(8 * len(bytes_), *bytes_.shape[1:]))
    for place in range(8):
        torch.bitwise_and(bytes_ >> (7 - place), 1, out=steps[place::8])
    return steps[:count].view(torch.int8)
