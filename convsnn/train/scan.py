"""The neurons of `lif`, run over all steps as one function with a backward pass of its own.

Same values and gradients as step by step, in a third of the time: only the potentials are kept,
and what the backward pass needs of a step is made when it gets there. With A the amount that is
taken away and sent (1 where spikes carry no size), a the decay, g the gradient of what was sent,
w and w' the rule's windows towards potential and threshold:

    soft reset   ds(t) = A g(t) - V du(t+1)          du(t) = ds(t) w(t) + a du(t+1)
    hard reset   ds(t) = A g(t) - a u(t) du(t+1)     du(t) = ds(t) w(t) + a (1 - s(t)) du(t+1)
    dL/dI(t) = du(t)         dL/dV = - sum of ds(t) w'(t), and the amounts' own where V is whole

(seeds: Neftci et al. 2019, equations of backpropagation through time).
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from convsnn.train.dsr import Dsr
from convsnn.train.lif import LIF, Carry
from convsnn.train.thresholds import Threshold


class ScannedLIF(LIF):
    """`LIF` that runs all its steps at once where it can: spikes, no lateral input, from rest."""

    def scan(self, currents: Tensor, carry: Carry | None = None) -> tuple[Tensor, Carry]:
        """See `LIF.scan`; the carry that comes back is without gradient."""
        plain = self.lateral is None and self.output == "spike" and carry is None
        if not plain or isinstance(self.threshold, Dsr):
            return super().scan(currents, carry)
        sent, base = _Scan.apply(currents, self.start(), self.threshold.value(), self)
        return sent, Carry(base, sent[-1].detach())


class _Scan(Function):
    """All steps of a population."""

    @staticmethod
    def forward(
        ctx: Any, currents: Tensor, start: Tensor, value: Tensor, lif: LIF
    ) -> tuple[Tensor, Tensor]:
        wide = torch.promote_types(currents.dtype, value.dtype)
        base = start.to(wide).expand(currents.shape[1:]).clone(memory_format=_layout(currents))
        potentials = _like(currents, wide)
        out = _like(currents, currents.dtype)
        fired, taken = torch.empty_like(base), torch.empty_like(base)
        rate = torch.zeros((), dtype=wide, device=currents.device)
        for step, current in enumerate(currents):
            torch.add(base, current, out=potentials[step])
            _fire(potentials[step], value, fired, strict=lif.strict)
            rate += fired.mean()
            torch.mul(fired, value, out=taken)
            out[step] = taken if lif.sends == "threshold" else fired
            torch.mul(potentials[step], lif.decay, out=base)
            if lif.reset == "soft":
                base.sub_(taken)
            else:
                base.mul_(fired.neg_().add_(1))
        lif.last_rate = rate / len(currents)
        ctx.save_for_backward(potentials, value, lif.threshold.unit)
        ctx.lif, ctx.start_shape = lif, start.shape
        ctx.mark_non_differentiable(base)
        return out, base

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _base: Tensor) -> tuple[Tensor | None, ...]:
        potentials, value, unit = ctx.saved_tensors
        lif, learns = ctx.lif, ctx.needs_input_grad[2]
        later = torch.zeros_like(potentials[0])  # du of the step behind
        currents = _like(potentials, gradient.dtype)
        learned = torch.zeros_like(value)
        for step in range(len(potentials) - 1, -1, -1):
            given = gradient[step].to(potentials.dtype)
            later, part = _step_back(lif, potentials[step], given, later, value, unit, learns)
            currents[step] = later
            if part is not None:
                learned += part
        start = later.sum_to_size(ctx.start_shape)
        return currents, start, learned if learns else None, None


def _step_back(
    lif: LIF,
    potential: Tensor,
    given: Tensor,
    later: Tensor,
    value: Tensor,
    unit: Tensor,
    learns: bool,
) -> tuple[Tensor, Tensor | None]:
    """du of one step, and its part of dL/dV, from that of what it sent and du of the next."""
    rule: Threshold = lif.threshold
    soft, sized = lif.reset == "soft", lif.sends == "threshold"
    fired = potential > value if lif.strict else potential >= value
    to_potential, to_value = rule.windows((potential - value) / unit, fired, lif.surrogate)
    kept = later if lif.decay == 1 else lif.decay * later
    if soft and sized and not lif.detach_reset:
        spikes = (given - later) * (value / unit)
    else:
        spikes = given * (value / unit) if sized else given / unit
        if not lif.detach_reset:
            spikes = spikes - (value * later if soft else kept * potential) / unit
    found = spikes * to_potential
    found += kept if soft else kept * ~fired
    if not learns:
        return found, None
    learned = -(spikes * to_value).sum_to_size(value.shape)
    if rule.whole:
        amounts = (given if sized else 0.0) - (later if soft else 0.0)
        if isinstance(amounts, Tensor):
            learned = learned + (amounts * fired).sum_to_size(value.shape)
    return found, learned


def _fire(potential: Tensor, value: Tensor, out: Tensor, *, strict: bool) -> None:
    if strict:
        torch.gt(potential, value, out=out)
    else:
        torch.ge(potential, value, out=out)


def _layout(currents: Tensor) -> torch.memory_format:
    """That of one step, where it is one of images with channels last."""
    last = currents.dim() == 5 and currents[0].is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def _like(sequence: Tensor, dtype: torch.dtype) -> Tensor:
    """Room for values of the shape of `sequence` (T, B, ...), each step in its layout."""
    merged = (sequence.shape[0] * sequence.shape[1], *sequence.shape[2:])
    room = torch.empty(merged, dtype=dtype, device=sequence.device, memory_format=_layout(sequence))
    return room.unflatten(0, sequence.shape[:2])
