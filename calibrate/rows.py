"""Rows of least squares: which places of a layer are looked at, and the sums of their products.

Products are made in float32 of as many rows at once as a few megabytes hold, those of each lot of
images apart, and added up in float64: the same however many processes share the images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from calibrate.replay import LOTS, Replay
from convsnn.graph import Node
from convsnn.spiking.sharing import Share

ELEMENTS = 1 << 21  # of the rows of a lot that wait for their product
WHOLE = 256  # unknowns whose products are made at once


@dataclass(frozen=True)
class Places:
    """The places of an image that are looked at: every n-th along both axes, beginning anywhere.

    `firsts` holds where, for every piece of the images, and so hangs on how these come in batches;
    with `every` 1 all are taken.
    """

    every: int
    firsts: Sequence[Sequence[int]]

    @staticmethod
    def some(replay: Replay, node: Node, share: float, *, seed: int) -> "Places":
        """At least the `share` of the places of a convolution of images, and all of other layers'
        or where that share is 1 or more; one along each axis at least."""
        _, *axes = replay.context.graph.shapes[node.name]
        images = node.op == "conv" and len(axes) == 2
        every = min(int(share**-0.5), *axes) if share < 1 and images else 1
        generator = torch.Generator().manual_seed(seed)
        firsts = [
            torch.randint(every, (2,), generator=generator).tolist() for _ in range(replay.pieces)
        ]
        return Places(every, firsts)

    def of(
        self, number: int, node: Node, x: Tensor, *values: Tensor
    ) -> tuple[Node, Tensor, tuple[Tensor, ...]]:
        """For a piece, a node that computes those places alone, what of its input `x` (B, ...) it
        reads, and what the `values` (B, ...) at its output are there."""
        if self.every == 1:
            return node, x, values
        down, across = first = self.firsts[number]
        given = spread(node, x, every=self.every, first=first)
        return *given, tuple(v[:, :, down :: self.every, across :: self.every] for v in values)


def spread(node: Node, x: Tensor, *, every: int, first: Sequence[int]) -> tuple[Node, Tensor]:
    """A convolution that computes each `every`-th place of `node`, from the `first` on, along both
    axes, and the part of the input `x` that it reads."""
    attrs, half = node.attrs, len(node.attrs["padding"]) // 2
    pads = attrs["padding"]
    low, high = pads[:half], pads[half:]
    around = [p for pair in zip(low[::-1], high[::-1], strict=True) for p in pair]
    down, across = (begin * stride for begin, stride in zip(first, attrs["stride"], strict=True))
    x = F.pad(x, around)[:, :, down:, across:]
    stride = [s * every for s in attrs["stride"]]
    return replace(node, attrs={**attrs, "stride": stride, "padding": [0] * (2 * half)}), x


@dataclass
class Normal:
    """Normal equations of one layer in float64, (groups, unknowns, unknowns) and (groups, unknowns,
    outputs) of a group, and the rows that are still to be added."""

    gram: Tensor
    moment: Tensor
    _waiting: dict[int, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)

    @staticmethod
    def nothing(node: Node, weight: Tensor, unknowns: int) -> "Normal":
        """Those of no images, for the layer `node`."""
        groups = node.attrs.get("groups", 1)
        gram = torch.zeros(groups, unknowns, unknowns, dtype=torch.float64, device=weight.device)
        return Normal(gram, gram.new_zeros(groups, unknowns, len(weight) // groups))

    def add(self, number: int, rows: Tensor, missing: Tensor) -> None:
        """Add the rows (groups, unknowns, rows) of the piece `number`, and what the outputs
        (groups, outputs, rows) lack there."""
        lot = self._waiting.setdefault(number % LOTS, [])
        lot.append((rows, missing))
        if sum(tensor.numel() for pair in lot for tensor in pair) >= ELEMENTS:
            self._take(number % LOTS)

    def _take(self, lot: int) -> None:
        parts = self._waiting.pop(lot)
        rows, missing = (torch.cat(each, 2) for each in zip(*parts, strict=True))
        self.gram += squared(rows)
        self.moment += rows @ missing.mT

    def of_all(self, share: Share) -> "Normal":
        """The sums over all processes."""
        for lot in sorted(self._waiting):
            self._take(lot)
        return Normal(share.add(self.gram), share.add(self.moment))

    def solve(self, ridge: float, *, biased: bool) -> Tensor:
        """The ridge solution, (groups, unknowns, outputs of a group); the sums are used up."""
        diagonal = self.gram.diagonal(dim1=1, dim2=2)
        diagonal += penalty_of(diagonal, ridge, biased=biased)
        factor, failed = torch.linalg.cholesky_ex(self.gram)
        if bool(failed.any()):  # rounding left it less than positive
            return torch.linalg.solve(self.gram, self.moment)
        return torch.cholesky_solve(self.moment, factor)


def penalty_of(diagonal: Tensor, ridge: float, *, biased: bool) -> Tensor:
    """What is added to the `diagonal` (groups, unknowns) of a matrix of sums: `ridge` times the
    mean square of an input; the bias, the last of the unknowns, moves freely."""
    weights = diagonal[:, :-1] if biased and diagonal.shape[1] > 1 else diagonal
    penalty = torch.full_like(diagonal, ridge * float(weights.mean()))
    if biased:
        penalty[:, -1] = 1e-9 * diagonal[:, -1]
    # where nothing arrives at all, the smallest number keeps the system solvable
    return penalty.clamp_(min=torch.finfo(torch.float32).tiny)


def squared(rows: Tensor) -> Tensor:
    """`rows` (groups, unknowns, rows) times its transpose, made of little more than the half that
    tells all."""
    unknowns = rows.shape[1]
    found = rows.new_empty(len(rows), unknowns, unknowns)
    open_ = [(0, unknowns)]
    while open_:
        first, last = open_.pop()
        here = slice(first, last)
        if last - first <= max(WHOLE, unknowns // 8):
            found[:, here, here] = rows[:, here] @ rows[:, here].mT
            continue
        middle = (first + last) // 2
        low, high = slice(first, middle), slice(middle, last)
        between = rows[:, low] @ rows[:, high].mT
        found[:, low, high], found[:, high, low] = between, between.mT
        open_ += [(first, middle), (middle, last)]
    return found
