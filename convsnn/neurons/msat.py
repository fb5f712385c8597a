"""MSAT, "Multi-stage adaptive threshold for deep spiking neural networks", equations (15) to (18).

Per neuron, with V the potential after the last step, V_m its mean over all steps so far, z the
current of this step and top = V_max the layer's largest activation, all in units of the source
network's activations:

    D = alpha (V - V_m) - top + k_a ln(1 + exp((V - V_m) / k_i))             (16) tracking (DTT)
    E = exp(-z / C)                                                          (17) evoked (DET)
    theta = top * sigmoid(tau_mp D + tau_rd E), and theta = top at the first step      (15)
    V += z;  s = [V >= theta];  V -= theta s                                            (18)

In the first `early` steps a spike is kept with the probability `confidence` only. What is sent is
theta * s, with the theta of that step. Where the paper is silent (the first step,
V_T = -top, V_m including the last residual) or says a thing twice (tau_rd in (15) and (17)), this
follows the results the authors logged.

The argument of the sigmoid depends on the absolute size of top: the published constants suit layers
whose largest activation is about 1 to 3, and never normalised weights. `reference` R takes the
potentials in units of top / R instead, so that every layer behaves like one whose maximum is R.
"""

import math
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Literal

import torch
from torch import Tensor

from convsnn.neurons.base import NEURONS, Keys, State, as_tensor, filled_like, sequence_like
from convsnn.neurons.fused import Fusable
from convsnn.random import uniform


@dataclass(frozen=True)
class Constants:
    """The constants of Table 1: slopes, knees and weights of the two parts of the threshold."""

    alpha: float
    ka: float
    ki: float
    c: float
    tau_mp: float
    tau_rd: float

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            least = "positive" if name in ("ki", "c") else "at least 0"
            if not math.isfinite(value) or value < 0 or (least == "positive" and value == 0):
                raise ValueError(f"{name} must be finite and {least}, not {value}")


SETS = {
    "vgg16": Constants(alpha=0.03, ka=1.0, ki=1.0, c=5.0, tau_mp=1.0, tau_rd=1.0),
    "resnet20": Constants(alpha=0.3, ka=1.0, ki=1.0, c=5.0, tau_mp=0.5, tau_rd=0.5),
    # not in the paper: the authors' second group for ResNet20 on CIFAR-10, which scored higher
    "resnet20-repo": Constants(alpha=0.3, ka=1.0, ki=1.0, c=5.0, tau_mp=0.2, tau_rd=0.1),
}


@dataclass(frozen=True)
class MsatState(State):
    """Beside potential and threshold, the sum of all potentials after a step, and their number."""

    total: Tensor
    step: int


@dataclass(frozen=True)
class _Units:
    """What the threshold is computed with; `scale` is None where potentials stay as they are."""

    top: Tensor
    offset: Tensor
    scale: Tensor | None


@dataclass(frozen=True)
class Msat:
    """A population with an adaptive threshold; `msat` below builds it from options.

    `threshold` is V_max; it, the initial `potential` and `confidence` broadcast to one sample's
    shape. `sc_reset` says what becomes of the charge of a dropped spike: by (18) it stays
    ("paper"), in the authors' code it is lost ("repo").
    """

    threshold: Tensor | float
    potential: Tensor | float = 0.0
    confidence: Tensor | float = 1.0
    constants: Constants = SETS["vgg16"]
    dtt: bool = True
    det: bool = True
    sc_reset: Literal["paper", "repo"] = "paper"
    early: int = 16
    seed: int = 0
    reference: float | None = None
    spikes_per_step = 1
    graded = True  # the threshold, and so the value of a spike, differs from step to step

    def __post_init__(self) -> None:
        top, kept = torch.as_tensor(self.threshold), torch.as_tensor(self.confidence)
        if not bool(((top > 0) & top.isfinite()).all()):
            raise ValueError("the threshold must be positive and finite")
        if not bool(((kept >= 0) & (kept <= 1)).all()):
            raise ValueError("confidence is a probability between 0 and 1")
        if not (self.dtt or self.det):
            raise ValueError("without dtt and det nothing adapts; use the neuron 'if'")
        if self.early < 0:
            raise ValueError(f"early must be at least 0, not {self.early}")
        if self.reference is not None and not 0 < self.reference < math.inf:
            raise ValueError(f"reference must be positive and finite, not {self.reference}")

    @torch.no_grad()
    def scan(
        self, currents: Tensor, state: MsatState | None = None, *, keys: Keys | None = None
    ) -> tuple[Tensor, MsatState]:
        """See `Neuron.scan`; no gradient flows through it."""
        units = self._units(currents)
        start = self._rest(units, currents) if state is None else state
        potential, total, threshold = start.potential.clone(), start.total.clone(), start.threshold
        confidence = self._confidence(currents)
        out = sequence_like(currents)
        for step, (current, sent) in enumerate(zip(currents, out, strict=True), start.step):
            threshold = self._threshold(units, potential, total, current, step)
            potential += current
            torch.ge(potential, threshold, out=sent).mul_(threshold)
            if confidence is None or step >= self.early:
                potential -= sent
            else:
                self._drop(potential, sent, self._draw(sent, step, keys) < confidence)
            total += potential
        return out, MsatState(potential, threshold, total, start.step + len(currents))

    def fusable(self) -> Fusable | None:
        """See `convsnn.neurons.fused`; what is dropped at random is left to `scan`."""
        top = torch.as_tensor(self.threshold)
        if self._confidence(top) is not None:
            return None
        k = self.constants
        units = self._units(top)
        mp, rd = k.tau_mp * self.dtt, k.tau_rd * self.det
        scale = torch.ones_like(top) if units.scale is None else units.scale
        numbers = (mp * k.alpha, mp * k.ka, 1 / k.ki, -1 / k.c, rd)
        constants = [torch.tensor(v, dtype=top.dtype, device=top.device) for v in numbers]
        rest = (as_tensor(self.potential, top), torch.zeros_like(top))
        return Fusable(_step, rest, (top, mp * units.offset, scale, *constants))

    def _units(self, like: Tensor) -> _Units:
        top = as_tensor(self.threshold, like)
        if self.reference is None:
            return _Units(top, top, None)
        reference = as_tensor(self.reference, like)
        return _Units(top, reference, reference / top)

    def _rest(self, units: _Units, currents: Tensor) -> MsatState:
        potential = filled_like(self.potential, currents[0])
        return MsatState(
            potential, units.top.expand_as(potential), torch.zeros_like(currents[0]), step=0
        )

    def _threshold(
        self, units: _Units, potential: Tensor, total: Tensor, current: Tensor, step: int
    ) -> Tensor:
        """The threshold of `step`, (B, ...); in place where it can, for this is the inner loop.

        Of the transcendental functions only exp and log1p are used: those of torch round alike
        wherever an element lies, sigmoid and softplus do not, and batch splits would show.
        """
        if step == 0:
            return units.top.expand_as(potential)
        k, drive = self.constants, None
        if self.dtt:
            away = torch.sub(potential, total, alpha=1 / step)
            if units.scale is not None:
                away *= units.scale
            # ln(1 + exp(x)) = max(x, 0) + ln(1 + exp(-|x|)), which cannot overflow
            drive = away.abs().mul_(-1 / k.ki).exp_().log1p_().mul_(k.tau_mp * k.ka)
            drive.add_(away, alpha=k.tau_mp * k.alpha)
            drive.add_(away.clamp_(min=0), alpha=k.tau_mp * k.ka / k.ki)
            drive -= k.tau_mp * units.offset
        if self.det:
            rate = -1 / k.c if units.scale is None else units.scale * (-1 / k.c)
            # clamped, for a weight tau_rd of 0 times infinity would be no number
            evoked = torch.mul(current, rate).clamp_(max=80).exp_()
            drive = evoked.mul_(k.tau_rd) if drive is None else drive.add_(evoked, alpha=k.tau_rd)
        assert drive is not None  # by __post_init__
        return torch.div(units.top, drive.neg_().exp_().add_(1), out=drive)

    def _confidence(self, like: Tensor) -> Tensor | None:
        confidence = torch.as_tensor(self.confidence, dtype=torch.float64, device=like.device)
        return None if bool((confidence == 1).all()) else confidence

    def _draw(self, like: Tensor, step: int, keys: Keys | None) -> Tensor:
        """One number in [0, 1) per neuron, (B, ...), that depends on sample, site and step only."""
        ids = torch.arange(len(like)) if keys is None else keys.ids
        site = 0 if keys is None else keys.site
        steps = range(step, step + 1)
        return uniform(self.seed, ids.to(like.device), site, steps, tuple(like.shape[1:]))[0]

    def _drop(self, potential: Tensor, sent: Tensor, kept: Tensor) -> None:
        if self.sc_reset == "repo":
            potential -= sent
            sent *= kept
        else:
            sent *= kept
            potential -= sent


def _step(
    current: Tensor, time: Tensor, potential: Tensor, total: Tensor, top: Tensor, *rest: Tensor
) -> tuple[Tensor, ...]:
    """Equations (15) to (18) out of place; `scan` states them term by term."""
    offset, scale, slope, weight, knee, rate, evoked = rest
    away = (potential - total / (time - 1).clamp(min=1)) * scale
    soft = torch.log1p(torch.exp(-(away * knee).abs())) + (away * knee).clamp(min=0)
    tracked = away * slope + weight * soft - offset
    drive = tracked + evoked * torch.exp((current * scale * rate).clamp(max=80))
    threshold = torch.where(time > 1, top / (1 + torch.exp(-drive)), top)
    potential = potential + current
    sent = torch.where(potential >= threshold, threshold, 0.0)
    potential = potential - sent
    return sent, potential, total + potential


@NEURONS.register("msat")
def msat(
    threshold: Tensor | float,
    potential: Tensor | float = 0.0,
    *,
    confidence: Annotated[
        float | None,
        "probability that an early spike is kept, 0 to 1; none: that of the plan, or 1",
    ] = None,
    set: Annotated[
        Literal["vgg16", "resnet20", "resnet20-repo"],
        "constants of Table 1 for all that is not given by itself",
    ] = "vgg16",
    alpha: Annotated[
        float | None,
        "slope of tracking: threshold drive per unit of potential above its mean; none: the set's",
    ] = None,
    ka: Annotated[float | None, "weight of tracking's knee, a pure number; none: the set's"] = None,
    ki: Annotated[
        float | None, "width of tracking's soft knee, in units of potential; none: the set's"
    ] = None,
    c: Annotated[
        float | None,
        "current at which the evoked part has fallen to 1/e, in its units; none: the set's",
    ] = None,
    tau_mp: Annotated[float | None, "weight of tracking, a pure number; none: the set's"] = None,
    tau_rd: Annotated[
        float | None, "weight of the evoked part, a pure number; none: the set's"
    ] = None,
    dtt: Annotated[bool, "whether the threshold tracks the potential (dynamic tracking)"] = True,
    det: Annotated[bool, "whether it answers the current (dynamic evoked threshold)"] = True,
    preset: Annotated[
        Literal["paper", "repo"],
        "whose reading of dropped spikes: the paper's text, or the authors' code",
    ] = "paper",
    sc_reset: Annotated[
        Literal["paper", "repo"] | None,
        "charge of a dropped spike: stays (paper) or is lost (repo); none: as preset says",
    ] = None,
    early: Annotated[int, "first time steps in which confidence drops spikes"] = 16,
    seed: Annotated[int, "number that chooses which early spikes are dropped"] = 0,
    reference: Annotated[
        float | None, "maximum that every layer is treated as having, in activations; none: its own"
    ] = None,
) -> Msat:
    """Integrate-and-fire with a threshold that adapts to potential and current (MSAT).

    `set` names the constants, each of which can be given by itself; `dtt` and `det` switch the two
    parts. `confidence` drops spikes in the first `early` steps, all alike where it is given as
    text; a plan's own, a tensor, wins over it. `preset` is the paper's text or the authors' code,
    which differ in `sc_reset`. `reference` makes the neuron free of scale. Raises ValueError where
    an option is out of its range.
    """
    single = {"alpha": alpha, "ka": ka, "ki": ki, "c": c, "tau_mp": tau_mp, "tau_rd": tau_rd}
    return Msat(
        threshold,
        potential,
        confidence=1.0 if confidence is None else confidence,
        constants=replace(SETS[set], **{k: v for k, v in single.items() if v is not None}),
        dtt=dtt,
        det=det,
        sc_reset=sc_reset or preset,
        early=early,
        seed=seed,
        reference=reference,
    )
