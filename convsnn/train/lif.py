"""A population of leaky integrate-and-fire neurons that can be trained through.

    u(t) = decay u(t-1) (1 - s(t-1)) + I(t)      reset "hard": to zero, gated, LTMD equation 2
    u(t) = decay u(t-1) - V s(t-1) + I(t)        reset "soft": by subtraction, which does not leak
    I(t)                                         what arrives, or what `synapse` makes of it
    s(t) = [u(t) >= V]                           with V and its gradient by the threshold's rule

At the first step decay u(0) is the initial potential and s(0) = 0. What is sent is s ("one") or
V s ("threshold"), or the potential itself (LTMD equation 10). Without leak, with soft reset and
spikes of the threshold's size this is the neuron `if` of the simulation, to the last bit; with
leak it is the neuron `lif`, with a synapse `cuba`.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from convsnn.errors import ConfigError
from convsnn.train.dsr import Dsr
from convsnn.train.lateral import Lateral
from convsnn.train.surrogates import Surrogate, Triangle
from convsnn.train.synapse import Synapse
from convsnn.train.thresholds import Threshold

Reset = Literal["hard", "soft"]
Sends = Literal["one", "threshold"]
Output = Literal["spike", "potential", "gated"]


@dataclass(frozen=True)
class Carry:
    """What a step hands to the next: the potential its current is added to, and what was sent."""

    base: Tensor
    sent: Tensor


class LIF(nn.Module):
    """The neurons of one site; `forward` takes currents (T, B, ...) and gives what they send.

    `potential` is the initial potential (a tensor, trainable where it is a Parameter); None asks
    the threshold's rule. `detach_reset` cuts the gradient through the spike that resets;
    `ignore_reset` lets it pass through the leak as if there were no reset (lava-dl). `strict` asks
    for more than the threshold to fire. `output` sends spikes, the potentials, or the
    potentials of firing neurons only ("gated": the authors' code of LTMD, whose gradient is 1 from
    half a unit below the threshold on and never reaches the threshold); `sends` applies to spikes.
    `synapse` makes the current of what arrives in `forward`; `scan` takes the current itself.
    `last_rate` is the mean number of spikes per neuron and step of the last pass, for logging,
    `last_silent` the share of neurons without a spike, a mean over the samples, and `last_dead`
    the share of those without one in any of them, `last_counts` each neuron's spikes in all.
    Raises ConfigError where options exclude each other.
    """

    potential: Tensor | None

    def __init__(
        self,
        threshold: Threshold,
        *,
        decay: float = 1.0,
        reset: Reset = "hard",
        detach_reset: bool = False,
        ignore_reset: bool = False,
        surrogate: Surrogate | None = None,
        strict: bool = False,
        sends: Sends = "one",
        output: Output = "spike",
        potential: Tensor | float | None = None,
        lateral: Lateral | None = None,
        synapse: Synapse | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= decay <= 1:
            raise ConfigError(
                f"a decay of {decay} cannot be used", hint="take one between 0 and 1 (no leak)"
            )
        plain = (decay, reset, sends, output, lateral) == (1, "soft", "threshold", "spike", None)
        if isinstance(threshold, Dsr) and not plain:
            raise ConfigError(
                "the threshold rule dsr stands for neurons without leak that send their threshold",
                hint="set decay=1, reset='soft' and sends='threshold', or take another rule",
            )
        self.threshold = threshold
        self.decay, self.strict = decay, strict
        self.detach_reset, self.ignore_reset = detach_reset or ignore_reset, ignore_reset
        self.reset: Reset = reset
        self.sends: Sends = sends
        self.output: Output = output
        self.surrogate = surrogate or Triangle()
        self.lateral, self.synapse = lateral, synapse
        if isinstance(potential, nn.Parameter):
            self.potential = potential
        else:
            dtype = threshold.unit.dtype
            if potential is not None:
                potential = torch.as_tensor(potential, dtype=dtype).detach().clone()
            self.register_buffer("potential", potential)
        self.last_rate: Tensor | None = None
        self.last_silent: Tensor | None = None
        self.last_dead: Tensor | None = None
        self.last_counts: Tensor | None = None

    def start(self) -> Tensor:
        """The potential that the first step's current is added to; broadcasts to one sample."""
        return self.threshold.start() if self.potential is None else self.potential

    def forward(self, currents: Tensor) -> Tensor:
        """What the neurons send, (T, B, ...), when they start from rest."""
        return self.scan(currents if self.synapse is None else self.synapse(currents))[0]

    def scan(self, currents: Tensor, carry: Carry | None = None) -> tuple[Tensor, Carry]:
        """Run the steps of `currents` (T, B, ...) from `carry`; None starts from rest.

        Chunks of steps run one after the other give the same as all at once. Raises ConfigError
        for a carry with `dsr`, whose gradient is of the whole run.
        """
        wide = torch.promote_types(currents.dtype, self.threshold.unit.dtype)
        work = currents.to(wide)  # potentials stay in full precision under mixed precision
        if isinstance(self.threshold, Dsr):
            return self._scan_means(self.threshold, work, carry, currents.dtype)
        if carry is None:
            base = self.start().to(wide).expand(work.shape[1:])
            carry = Carry(base, torch.zeros_like(work[0]))
        out, counts = [], torch.zeros_like(work[0])
        for current in work:
            potential, spikes, sent = self._step(current, carry)
            carry = Carry(self._after(potential, spikes), sent)
            out.append(sent)
            counts += spikes.detach()
        self.notice(counts, len(work))
        return torch.stack(out).to(currents.dtype), carry

    @torch.no_grad()
    def notice(self, counts: Tensor, steps: int) -> None:
        """Keep what is logged of the spikes (B, ...) that each neuron sent in `steps` steps."""
        self.last_rate = counts.mean() / steps
        self.last_silent = (counts == 0).to(counts.dtype).mean()
        self.last_counts = counts.sum(0)
        self.last_dead = (self.last_counts == 0).to(counts.dtype).mean()

    def _step(self, current: Tensor, carry: Carry) -> tuple[Tensor, Tensor, Tensor]:
        """Potential, spikes and what is sent at one step."""
        if self.lateral is not None:
            current = current + self.lateral(current, carry.sent)
        potential = carry.base + current
        spikes = self.threshold.fire(potential, self.surrogate, strict=self.strict)
        if self.output == "potential":
            return potential, spikes, potential
        if self.output == "gated":
            return potential, spikes, self._gated(potential, spikes)
        amplitude = self.threshold.amplitude() if self.sends == "threshold" else 1
        return potential, spikes, spikes * amplitude

    def _after(self, potential: Tensor, spikes: Tensor) -> Tensor:
        """The potential that the next step's current is added to."""
        if self.detach_reset:
            spikes = spikes.detach()
        kept = potential if self.decay == 1 else self.decay * potential
        if self.reset == "hard":
            return kept - (kept * spikes).detach() if self.ignore_reset else kept * (1 - spikes)
        return kept - self.threshold.amplitude() * spikes

    def _gated(self, potential: Tensor, spikes: Tensor) -> Tensor:
        """potential x spike, with the gradient of the potential within the window of LTMD."""
        near = potential >= (self.threshold.value() - self.threshold.unit / 2).detach()
        kept = near.to(potential.dtype)
        return potential * kept - (potential * (kept - spikes)).detach()

    def _scan_means(
        self, rule: Dsr, currents: Tensor, carry: Carry | None, dtype: torch.dtype
    ) -> tuple[Tensor, Carry]:
        if carry is not None:
            raise ConfigError(
                "dsr trains on the mean over all steps, which cannot run in chunks",
                hint="run all steps at once, or take another threshold rule",
            )
        sent = rule.scan(currents, self.start().to(currents.dtype), strict=self.strict)
        self.notice((sent.detach() != 0).to(currents.dtype).sum(0), len(sent))
        return sent.to(dtype), Carry(torch.zeros_like(sent[0]), sent[-1])
