"""Max-pooling of spikes that is exact over time.

It keeps the running sum of its input, pools that, and passes on the difference to the step before,
so that the sum of what it passed on is at every step the pool of the summed input (for windows that
do not overlap: LIPool, Li and Zeng 2022, section 4.2).
"""

from typing import Any

import torch
from torch import Tensor

from convsnn.graph import Node
from convsnn.graph.ops import OPS
from convsnn.neurons.fused import compiled

State = tuple[Tensor, ...]


def sum_pool(node: Node, x: Tensor, state: Any, *, fused: bool) -> tuple[Tensor, State]:
    """Pool a chunk (Tc, B, ...); returns what is passed on, in the type of `x`, and the state."""
    if fused and _tiles(node, x):
        return _tiled(node, x, state)
    work = x if x.is_floating_point() and x.dtype.itemsize > 2 else x.float()
    summed = work.cumsum(0)
    if state is not None:
        summed = summed + state[0]
    pooled = OPS[node.op].run(summed.flatten(0, 1), **node.attrs).unflatten(0, (len(x), -1))
    last = torch.zeros_like(pooled[0]) if state is None else state[1]
    passed = torch.diff(pooled, dim=0, prepend=last[None])
    return passed.to(x.dtype), (summed[-1], pooled[-1])


def _tiles(node: Node, x: Tensor) -> bool:
    """Whether the windows tile an image: then every neuron belongs to one window."""
    a = node.attrs
    return (
        x.dim() == 5
        and list(a["kernel"]) == list(a["stride"])
        and not any(a["padding"])
        and set(a["dilation"]) == {1}
        and all(n % k == 0 for n, k in zip(x.shape[3:], a["kernel"], strict=True))
    )


def _tiled(node: Node, x: Tensor, state: Any) -> tuple[Tensor, State]:
    high, wide = node.attrs["kernel"]
    rows, columns = x.shape[3:]
    tiles = (
        x.movedim(2, -1).unflatten(3, (columns // wide, wide)).unflatten(2, (rows // high, high))
    )  # (Tc, B, h, high, w, wide, C)
    parts = tuple(tiles[:, :, :, i, :, j] for i in range(high) for j in range(wide))
    if state is None:
        zero = torch.zeros(parts[0].shape[1:], device=x.device)
        state = (*[zero] * len(parts), zero)
    passed, after = compiled(_pool_loop)(parts, tuple(state))
    return passed.movedim(-1, 2), after


def _pool_loop(parts: tuple[Tensor, ...], state: State) -> tuple[Tensor, State]:
    *sums, last = state
    passed = []
    for t in range(parts[0].shape[0]):
        sums = [total + part[t].to(total.dtype) for total, part in zip(sums, parts, strict=True)]
        pooled = sums[0]
        for total in sums[1:]:
            pooled = torch.maximum(pooled, total)
        passed.append((pooled - last).to(parts[0].dtype))
        last = pooled
    return torch.stack(passed), (*sums, last)
