"""What a node of a NIR graph sends, seen from our graph: nodes times units, summed, plus a bias.

In NIR every spike is 1 and edges that meet add up. A value of our graph is so a sum of taps,

    value = bias + sum over taps of unit * (matrix applied to what `source` sends)

with a unit for all or one a channel. Units are folded into the weights that read them; a matrix
(channels chosen, padded with zeros or joined) becomes a convolution of size 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from convsnn.simulate.units import narrow


@dataclass(frozen=True)
class Tap:
    """One summand; `unit` is a scalar or has an axis for every axis of the sample, all but the
    first of size 1. `owned` says that nothing else reads the source, so that it may be changed."""

    source: str
    unit: Tensor
    matrix: Tensor | None = None
    stride: int = 1
    owned: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether it is the source itself, in its unit."""
        return self.matrix is None and self.stride == 1


@dataclass(frozen=True)
class Value:
    """A sum of taps and a bias, which has the form of a unit (None: no bias)."""

    taps: tuple[Tap, ...]
    bias: Tensor | None = None

    def times(self, factor: Tensor) -> "Value":
        """All of it times a factor in the form of a unit."""
        taps = tuple(replace(tap, unit=tap.unit * factor) for tap in self.taps)
        return Value(taps, None if self.bias is None else self.bias * factor)

    def plus(self, bias: Tensor) -> "Value":
        """The same with more bias."""
        return replace(self, bias=bias if self.bias is None else self.bias + bias)

    @staticmethod
    def total(values: Sequence["Value"]) -> "Value":
        """The sum of several; what comes twice from one source counts twice, for a graph has no
        two edges between the same nodes."""
        taps: list[Tap] = []
        for tap in (tap for value in values for tap in value.taps):
            same = [i for i, t in enumerate(taps) if t.source == tap.source and t.is_plain]
            if same and tap.is_plain:
                taps[same[0]] = replace(tap, unit=taps[same[0]].unit + tap.unit)
            else:
                taps.append(tap)
        biases = [value.bias for value in values if value.bias is not None]
        return Value(tuple(taps), sum(biases[1:], biases[0]) if biases else None)


def channelwise(value: Tensor, shape: Sequence[int]) -> Tensor | None:
    """`value`, which broadcasts to a sample of `shape`, in the form of a unit; None where it
    differs within a channel."""
    found = narrow(value.detach(), shape)
    if found.dim() == 0:
        return found
    return found if found.numel() == found.shape[0] == shape[0] else None


def per_channel(unit: Tensor, channels: int) -> Tensor:
    """A unit as (channels,)."""
    return unit.reshape(-1).expand(channels) if unit.numel() == 1 else unit.reshape(-1)


def as_matrix(tap: Tap, channels: int) -> Tensor:
    """What a tap does to channels, (out, in), its unit taken in."""
    if tap.matrix is None:
        return torch.diag(per_channel(tap.unit, channels))
    return tap.matrix * per_channel(tap.unit, len(tap.matrix)).reshape(-1, 1)


def chosen(tap: Tap, rows: Tensor, channels: int) -> Tap:
    """A tap behind a map of its `channels` to others, (out, in)."""
    one = torch.ones((), dtype=rows.dtype)
    return replace(tap, unit=one, matrix=rows @ as_matrix(tap, channels), owned=False)
