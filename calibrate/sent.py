"""What a population sent, kept in little memory while the layers behind it are calibrated."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Sent:
    """What a population sent, (T, B, ...): bits along the steps times a threshold, or values.

    Where spikes have a sign, `negative` holds the bits of the negative ones.
    """

    data: np.ndarray[Any, Any] | Tensor
    threshold: Tensor
    steps: int
    negative: np.ndarray[Any, Any] | None = None
    parts: int = 0  # of which the data are numbers, where layers fire one after another

    @staticmethod
    def pack(values: Tensor, threshold: Tensor) -> "Sent":
        """Keep `values` exactly, as bits where each is zero or the threshold with either sign."""
        bits, minus = values > 0, values < 0
        if torch.equal(bits * threshold - minus * threshold, values):
            negative = _packed(minus) if bool(minus.any()) else None
            return Sent(_packed(bits), threshold, len(values), negative)
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
        if isinstance(self.data, Tensor):
            kept = self.data[:steps]
            return kept.to(self.threshold) * self.threshold / self.parts if self.parts else kept
        count = min(steps, self.steps)
        spikes = _unpacked(self.data, count)
        if self.negative is not None:
            spikes = spikes - _unpacked(self.negative, count)
        return spikes.to(self.threshold.device) * self.threshold


def _packed(bits: Tensor) -> np.ndarray[Any, Any]:
    return np.packbits(bits.cpu().numpy(), axis=0)


def _unpacked(data: np.ndarray[Any, Any], count: int) -> Tensor:
    return torch.from_numpy(np.unpackbits(data, axis=0, count=count)).to(torch.int8)
