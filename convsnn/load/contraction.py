"""Einstein's sum of two values that both depend on the input, as one matrix product of each sample.

Letters of both that stay are a stack of matrices, letters of both that go are summed over, and
what only one has makes its rows or columns.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

Emit = Callable[..., str]


def contract(
    emit: Emit, names: tuple[str, str], sides: tuple[str, str], out: str, sizes: Mapping[str, int]
) -> str | None:
    """The node that sums the products of the nodes `names`, whose axes are the letters `sides`,
    the batch first; None where it moves the batch, or an operand has axes that nothing reads.

    `sizes` are those of the letters, but for the batch.
    """
    left, right = sides
    batch = left[:1]
    letters = {*left, *right, *out}
    if not (batch and right[:1] == batch == out[:1]) or not letters - {batch} <= sizes.keys():
        return None
    if any(len(set(side)) < len(side) for side in (left, right, out)):
        return None
    shared = [c for c in left[1:] if c in right]
    stack = [c for c in shared if c in out]
    summed = [c for c in shared if c not in out]
    rows = [c for c in left[1:] if c not in right]
    columns = [c for c in right[1:] if c not in left]
    if not set(rows + columns) <= set(out) or set(out[1:]) != {*stack, *rows, *columns}:
        return None

    def size(chosen: Sequence[str]) -> int:
        return prod(sizes[c] for c in chosen)

    def arranged(name: str, side: str, order: Sequence[str], shape: list[int]) -> str:
        dims: list[Any] = [0, *(side.index(c) for c in order)]
        if dims != sorted(dims):
            name = emit("permute", name, dims=dims)
        return emit("reshape", name, shape=shape)

    first = arranged(
        names[0], left, [*stack, *rows, *summed], [size(stack), size(rows), size(summed)]
    )
    second = arranged(
        names[1], right, [*stack, *summed, *columns], [size(stack), size(summed), size(columns)]
    )
    made = emit("matmul", first, second)
    found = [*stack, *rows, *columns]
    made = emit("reshape", made, shape=[sizes[c] for c in found])
    order = [0, *(found.index(c) + 1 for c in out[1:])]
    return made if order == sorted(order) else emit("permute", made, dims=order)
