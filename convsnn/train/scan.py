"""The neurons of `lif`, run over all steps as one function with a backward pass of its own.

Same values and gradients as step by step, in a fraction of the time: only the potentials are kept,
what the backward pass needs of a step is made when it gets there, and where there is a compiler
both passes can be one pass over memory each. With A the amount that is taken away and sent (1
where spikes carry no size), a the decay, g the gradient of what was sent, w and w' the rule's
windows towards potential and threshold:

    soft reset   ds(t) = A g(t) - V du(t+1)          du(t) = ds(t) w(t) + a du(t+1)
    hard reset   ds(t) = A g(t) - a u(t) du(t+1)     du(t) = ds(t) w(t) + a (1 - s(t)) du(t+1)
    ignored      ds(t) = A g(t)                      du(t) = ds(t) w(t) + a du(t+1)
    dL/dI(t) = du(t)         dL/dV = - sum of ds(t) w'(t), and the amounts' own where V is whole

(seeds: Neftci et al. 2019, equations of backpropagation through time).
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from convsnn.neurons.fused import Layout, compiled
from convsnn.train.dsr import Dsr
from convsnn.train.lif import LIF, Carry
from convsnn.train.thresholds import Threshold

LONGEST = 16  # steps that are compiled at once; the time of the compiler grows with them


class ScannedLIF(LIF):
    """`LIF` that runs all its steps at once where it can: spikes, no lateral input, from rest.

    `compiles` says whether the loops over the steps are compiled (`neurons.fused.compiler` says
    whether they can be).
    """

    compiles = False

    def scan(self, currents: Tensor, carry: Carry | None = None) -> tuple[Tensor, Carry]:
        """See `LIF.scan`; the carry that comes back is without gradient."""
        plain = self.lateral is None and self.output == "spike" and carry is None
        if not plain or isinstance(self.threshold, Dsr):
            return super().scan(currents, carry)
        sent, base = _Scan.apply(currents, self.start(), self.threshold.value(), self)
        return sent, Carry(base, sent[-1].detach())


class _Scan(Function):
    """All steps of a population, laid out as (T, B x P, M); see `Layout`."""

    @staticmethod
    def forward(
        ctx: Any, currents: Tensor, start: Tensor, value: Tensor, lif: ScannedLIF
    ) -> tuple[Tensor, Tensor]:
        unit, (steps, batch) = lif.threshold.unit, currents.shape[:2]
        layout = Layout.of(currents.shape[2:], (start, value, unit))
        wide = torch.promote_types(currents.dtype, value.dtype)
        given, threshold = layout.flat(currents), layout.parameter(value)
        base = layout.start(start.to(wide), batch)
        fired = torch.zeros_like(base)
        run = compiled(_run) if lif.compiles else _run
        potentials, sent = [], []
        for part in given.split(LONGEST):
            reached, out, base, fired = run(part, base, fired, threshold, lif)
            potentials.append(reached)
            sent.append(out)
        lif.notice(layout.back(fired[None], batch)[0], steps)
        ctx.save_for_backward(value, unit, *potentials)
        ctx.lif, ctx.layout, ctx.batch, ctx.start_shape = lif, layout, batch, start.shape
        after = layout.back(base[None], batch)[0]
        ctx.mark_non_differentiable(after)
        return layout.back(_joined(sent), batch), after

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _after: Tensor) -> tuple[Tensor | None, ...]:
        value, unit, *potentials = ctx.saved_tensors
        lif, layout, batch = ctx.lif, ctx.layout, ctx.batch
        given = layout.flat(gradient).split(LONGEST)
        parameters = layout.parameter(value), layout.parameter(unit)
        later = torch.zeros_like(potentials[0][0])  # du of the step behind
        learned = torch.zeros_like(later)
        back = compiled(_back) if lif.compiles else _back
        currents: list[Tensor] = []
        for reached, part in zip(reversed(potentials), reversed(given), strict=True):
            found, later, learned = back(reached, part, later, learned, *parameters, lif)
            currents.insert(0, found)
        start = layout.back(later[None], batch)[0].sum_to_size(ctx.start_shape)
        threshold = layout.back(learned[None], batch)[0].sum_to_size(value.shape)
        return layout.back(_joined(currents), batch), start, threshold, None


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _run(
    currents: Tensor, base: Tensor, spikes: Tensor, value: Tensor, lif: LIF
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Potentials and what is sent, (T, R, M), the potential that the next current is added to, and
    each neuron's number of spikes added to `spikes`."""
    potentials, sent = [], []
    for current in currents.unbind(0):
        potential = base + current
        fired = potential > value if lif.strict else potential >= value
        one = fired.to(potential.dtype)
        taken = one * value
        base = potential if lif.decay == 1 else potential * lif.decay
        base = base - taken if lif.reset == "soft" else base * (1 - one)
        spikes = spikes + one
        potentials.append(potential)
        sent.append((taken if lif.sends == "threshold" else one).to(currents.dtype))
    return torch.stack(potentials), torch.stack(sent), base, spikes


def _back(
    potentials: Tensor,
    gradient: Tensor,
    later: Tensor,
    learned: Tensor,
    value: Tensor,
    unit: Tensor,
    lif: LIF,
) -> tuple[Tensor, Tensor, Tensor]:
    """du of all steps, that of the first, and each neuron's part of dL/dV added to `learned`."""
    currents: list[Tensor] = []
    for step in range(len(potentials) - 1, -1, -1):
        given = gradient[step].to(potentials.dtype)
        later, part = _step_back(lif, potentials[step], given, later, value, unit)
        learned = learned + part
        currents.insert(0, later.to(gradient.dtype))
    return torch.stack(currents), later, learned


def _step_back(
    lif: LIF, potential: Tensor, given: Tensor, later: Tensor, value: Tensor, unit: Tensor
) -> tuple[Tensor, Tensor]:
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
    found = spikes * to_potential + (kept if soft or lif.ignore_reset else kept * ~fired)
    learned = -spikes * to_value
    if rule.whole:
        amounts = (given if sized else 0.0) - (later if soft else 0.0)
        if isinstance(amounts, Tensor):
            learned = learned + amounts * fired
    return found, learned
