"""Random numbers that depend on what they are for, not on when they are drawn.

Each number is a hash of (seed, sample number, site, step, element), so splitting a batch, leaving
samples out or changing the chunk of time steps changes nothing. The mixing function is the
finaliser of SplitMix64 (Steele, Lea and Flood 2014), applied once per key.
"""

import torch
from torch import Tensor

_MASK = (1 << 64) - 1


def _signed(value: int) -> int:
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


def _shift(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = x + _signed(0x9E3779B97F4A7C15)
    x = (x ^ _shift(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shift(x, 31)


def uniform(seed: int, ids: Tensor, site: int, steps: range, shape: tuple[int, ...]) -> Tensor:
    """Numbers in [0, 1) in float64, (steps, B, *shape), for the samples numbered `ids` (B,)."""
    device = ids.device
    ids = ids.to(torch.int64)
    key = _mix(torch.tensor(_signed(seed), device=device) ^ _signed(site << 32))
    step = torch.arange(steps.start, steps.stop, device=device)
    rows = _mix(_mix(key ^ ids)[None, :] ^ step[:, None])
    size = int(torch.Size(shape).numel())
    bits = _mix(rows[..., None] ^ torch.arange(size, device=device))
    return (_shift(bits, 11).to(torch.float64) * 2.0**-53).reshape(len(steps), len(ids), *shape)
