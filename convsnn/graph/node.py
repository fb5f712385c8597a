"""A node, one op applied to named inputs, and a site, a place where neurons will stand."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from convsnn.graph.ops import OPS, Role


@dataclass(frozen=True)
class Node:
    """One op applied to named inputs; `source` is the user's own line, where known."""

    name: str
    op: str
    inputs: tuple[str, ...] = ()
    attrs: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""

    @property
    def role(self) -> Role:
        """What becomes of this op in a spiking network."""
        return OPS[self.op].role


@dataclass(frozen=True)
class Site:
    """A place where an activation becomes a population of neurons.

    `shape` is that of one sample, `channel_axis` the axis of it that has a threshold each in
    channel-wise methods, `ceiling` the largest value the activation can take (None for ReLU).
    `slope` is the factor of negative values, broadcasting to one sample (None where they become
    zero). `levels` and `shift` are those of a network trained with a clip-floor activation: the
    number of steps of its staircase, and where in a step it starts (None and 0 for others).
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    channel_axis: int
    ceiling: float | None
    slope: Tensor | None = field(default=None, compare=False)
    levels: int | None = None
    shift: float = 0.0

    @property
    def signed(self) -> bool:
        """Whether the activation can be negative."""
        return self.slope is not None

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.shape[self.channel_axis] if self.shape else 1

    def per_channel(self, values: Tensor) -> Tensor:
        """Bring one value per channel, (C,), to a shape that broadcasts to one sample."""
        shape = [1] * len(self.shape)
        if shape:
            shape[self.channel_axis] = -1
        return values.reshape(shape)
