"""Margins at which an answer counts as settled, fitted for a promised agreement with the full run.

The lead m(t) is the score of the first class minus that of the second, in the output read up to
step t. An image leaves at the first step t < T with

    m(t) > c w(t),    w(t) = sqrt(1 - t / T) / t

for what a rate read over t steps is off by falls like 1 / t, and what it still can change shrinks
to nothing at T. (Of 14 shapes compared on ResNet-20 with sums of two CIFAR-10 training images, this
one kept 99.5 % of the answers in the fewest steps, 26; 1 / sqrt(t) took 37.)
The larger c, the later an image leaves and the surer it keeps the answer of step T. c is the least
for which the share of images that would leave with another answer is at most 1 - promise with
95 % confidence (one-sided bound of Clopper and Pearson 1934). Values of c are tried from large to
small, ending before the first that fails, so that the bound holds for the one that is taken
(fixed sequence testing; Angelopoulos et al. 2021, "Learn then Test", section 4). It holds for
images like those it was fitted on.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from convsnn.errors import ConfigError

CONFIDENCE = 0.95
PER_OCTAVE = 16  # values of c that are tried between one and its double


@dataclass(frozen=True)
class Trace:
    """Images run to the end: `leads` and `answers` (T, N), see `lead`."""

    leads: Tensor
    answers: Tensor


@dataclass(frozen=True)
class Margins:
    """What the lead must exceed at each step, `needed` (T,), infinite where no image may leave.

    All that are left leave at the last step. `promised` is the share of images that keep the
    answer of the full run; of the `samples` images fitted on, `changed` would not, `bound` is the
    most that this share may be with CONFIDENCE, and `mean_steps` is how long they ran.
    """

    needed: tuple[float, ...]
    promised: float
    samples: int
    changed: int
    bound: float
    mean_steps: float


def lead(output: Tensor) -> tuple[Tensor, Tensor]:
    """How far the first class leads the second, and which it is; both (..., ) of (..., classes)."""
    best = output.topk(2, dim=-1)
    return best.values[..., 0] - best.values[..., 1], output.argmax(-1)


def fewest_samples(promised: float) -> int:
    """Images below which nothing can be promised, even if none of them changes its answer."""
    return math.ceil(math.log(1 - CONFIDENCE) / math.log(promised))


def upper_bound(changed: int, samples: int) -> float:
    """The largest share of changes that `changed` of `samples` leave room for, at CONFIDENCE.

    Clopper and Pearson's: the p at which as few changes have a probability of 1 - CONFIDENCE.
    """
    if changed >= samples:
        return 1.0
    low, high = changed / samples, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _at_most(changed, samples, middle) > 1 - CONFIDENCE:
            low = middle
        else:
            high = middle
    return high


def _at_most(changed: int, samples: int, share: float) -> float:
    """Probability of at most `changed` changes among `samples`, each with probability `share`."""
    if share >= 1:
        return float(changed >= samples)
    log, log_not = math.log(share) if share > 0 else -math.inf, math.log1p(-share)
    total = 0.0
    for k in range(changed + 1):
        ways = math.lgamma(samples + 1) - math.lgamma(k + 1) - math.lgamma(samples - k + 1)
        total += math.exp(ways + (k * log if k else 0.0) + (samples - k) * log_not)
    return total


def fit_margins(trace: Trace, *, promised: float) -> Margins:
    """The margins that let images leave soonest and keep `promised`, a share within (0.5, 1).

    Raises ConfigError for another promise, for a single step, and for fewer images than
    `fewest_samples`.
    """
    steps, samples = trace.leads.shape
    require_promise(promised, steps=steps, samples=samples)
    t = torch.arange(1, steps, dtype=torch.float64)
    shape = (1 - t / steps).sqrt() / t
    # what the highest lead so far, in units of the shape, must not exceed for an image to stay
    highest = (trace.leads[:-1].double() / shape[:, None]).cummax(0).values
    chosen, stayed, changed = math.inf, torch.full((samples,), steps - 1), 0
    for factor in _falling(float(highest.max())):
        left = (highest <= factor).sum(0)  # steps that run before the one at which it leaves
        wrong = int((_answers_at(trace, left) != trace.answers[-1]).sum())
        if upper_bound(wrong, samples) > 1 - promised:
            break
        chosen, stayed, changed = factor, left, wrong
    return Margins(
        (*(chosen * shape).tolist(), math.inf),
        promised,
        samples,
        changed,
        upper_bound(changed, samples),
        float((stayed + 1).double().mean()),
    )


def require_promise(promised: float, *, steps: int, samples: int) -> None:
    """ConfigError where no margins could keep `promised`, or there is no step to save."""
    if not 0.5 < promised < 1:
        raise ConfigError(
            f"early exit promises more than 50 and less than 100 percent, not {100 * promised:g}",
            hint="99.5 lets one image in 200 get another answer than after all time steps",
        )
    if steps < 2:
        raise ConfigError(
            "early exit has nothing to save in a single time step",
            hint="use at least 2 --timesteps, or leave --early-exit out",
        )
    if samples < fewest_samples(promised):
        raise ConfigError(
            f"{samples} images are too few to promise {100 * promised:g} percent with "
            f"{100 * CONFIDENCE:g} % confidence",
            hint=f"fit on at least {fewest_samples(promised)} images, or promise less",
        )


def _answers_at(trace: Trace, index: Tensor) -> Tensor:
    return trace.answers.gather(0, index[None])[0]


def _falling(highest: float) -> Iterator[float]:
    """Factors from the first that lets no image leave down to a thousandth of it.

    They are powers of 2 ^ (1/16) whatever the images, as fixed sequence testing asks.
    """
    if highest > 0:
        first = math.ceil(PER_OCTAVE * math.log2(highest))
        yield from (2 ** ((first - k) / PER_OCTAVE) for k in range(10 * PER_OCTAVE))
