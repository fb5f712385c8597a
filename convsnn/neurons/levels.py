"""A neuron with spikes of both signs and n sizes, each half of the one before.

    V(t) = f_t(S(t)) + V(0) - sent(t-1)      S(t) = S(t-1) + z(t)      f_t(S) = t f(S / t)
    s(t) = the nearest to V(t) of 0 and +-threshold / 2^k, k = 0 ... n-1       output = s(t)

so that weights meet powers of two: a shift and an addition. It keeps what it could not send: a
third of the potential at most, or half of the smallest size. f is the site's activation: x itself
where the neuron codes a value (`convsnn.passes.coding`), else as in `signed`. Where the layers fire
one after another it sends the sum of all T steps, largest spikes first.

In differential form a spike is a change of the mean m that its receivers hold:

    V(t) = f_t(S(t)) + V(0) - t m(t-1)      m(t) = m(t-1) + s(t) / t      output = m(t-1) + s(t)

with s as above. What is passed on adds up to t m(t), what is sent is s alone. A constant c of up to
1.5 thresholds is held to within the larger of d / t and |c| / 3^t after t steps, with d half of the
smallest size. A sum of two sizes is then at rest; anything else is followed ever more closely, by
a spike of the smallest size in nearly every step, back and forth. With a `dead_zone` of 1, where
nothing is sent below the smallest size, d is that size, and the mean comes to rest: a spike at step
t leaves so little that the next one comes after t (t - 1) steps.

Signed neurons with several thresholds stand before every weight of converted transformers, as in
ECMT and DCGS; the differential form is that of DCGS (arXiv 2503.00301), whose code sums up m too
and starts at a potential of 0. Unlike there, f is applied to the mean current here, and a bias
comes at every step. Potentials, currents and thresholds are in units of the source network.
"""

import math
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Annotated, Any

import torch
from torch import Tensor

from convsnn.neurons.base import NEURONS, Keys, State, as_tensor, filled_like, sequence_like
from convsnn.neurons.following import FollowingState, at_rest, followed

MOST = 24  # sizes: float32 has no more digits
BETWEEN = 0.75  # of a size: from there on it is nearer than half of it
TABLED = 12  # sizes up to which a table of all codes is small
_EXPONENTS = (
    (torch.float32, torch.int32, 0x7F800000),
    (torch.float64, torch.int64, 0x7FF0000000000000),
)


def nearest_level(potential: Tensor, n: int) -> Tensor:
    """The nearest of 0 and +-1, 1/2 ... 2^(1-n) to each of `potential`; ties to the larger size."""
    smallest = 2.0 ** (1 - n)
    size = potential.abs()
    sent = size >= smallest / 2
    level = _power_of_two(size.div_(BETWEEN)).clamp_(smallest, 1.0)
    return level.mul_(sent).copysign_(potential)


def _power_of_two(size: Tensor) -> Tensor:
    """The largest power of two that is at most `size`, which is overwritten: its exponent without
    its digits."""
    for dtype, bits, mask in _EXPONENTS:
        if size.dtype is dtype:
            return size.view(bits).bitwise_and_(mask).view(dtype)
    _, exponent = torch.frexp(size)
    return torch.ldexp(torch.ones_like(size), exponent - 1)


def _longest(n: int) -> int:
    """Spikes below the threshold until less is left than half of the smallest size: each leaves a
    third of what was there at most, of 3/4 at first."""
    return math.ceil(math.log(BETWEEN * 2.0**n) / math.log(3)) + 1


def _sent(left: Tensor, budget: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """What at most `budget` spikes send of `left`, less than a threshold, and how many they are."""
    sent, spikes = torch.zeros_like(left), torch.zeros_like(left)
    for _ in range(_longest(n)):
        level = nearest_level(left - sent, n).mul_(spikes < budget)
        if not bool(level.any()):
            break
        sent += level
        spikes += level.ne_(0)
    return sent, spikes


def _looked_up(left: Tensor, budget: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The same from a table. What is sent changes at multiples of half the smallest size alone, so
    that it has a place for each of these and one for all that lies between two."""
    sent, spikes = table_of_codes(n, left.dtype, left.device)
    wide = torch.promote_types(left.dtype, torch.float32)
    halves = left.abs().to(wide).mul_(2.0**n)
    place = halves.ceil().add_(halves.floor_()).clamp_(max=sent.shape[1] - 1)
    place += budget.to(wide).clamp(max=len(sent) - 1).mul_(sent.shape[1])
    index = place.nan_to_num_().long()
    return sent.take(index).copysign_(left), spikes.take(index)


@cache
def table_of_codes(
    n: int, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """For every budget and every quarter of the smallest size up to 3/4: see `_looked_up`."""
    places = torch.arange(3 * 2 ** (n - 1) + 1.0, dtype=torch.float32, device=device)
    budgets = torch.arange(_longest(n) + 1.0, dtype=torch.float32, device=device)[:, None]
    sent, spikes = _sent((places / 2.0 ** (n + 1)).expand(len(budgets), -1), budgets, n)
    return sent.to(dtype), spikes.to(dtype)


@dataclass(frozen=True)
class HeldState(State):
    """Beside potential and threshold, all current so far, the mean that receivers hold, and the
    steps."""

    total: Tensor
    mean: Tensor
    step: int


@NEURONS.register("levels")
@dataclass(frozen=True)
class Levels:
    """Spikes of both signs and `n` sizes, threshold / 2^k: codes what smooth functions give.

    `threshold`, the initial `potential`, `slope` and `ceiling` broadcast to one sample's shape;
    the last two come from the network's activation (None: negative values become zero; 1: they
    stay).
    """

    threshold: Tensor | float
    potential: Tensor | float = 0.0
    slope: Tensor | None = None
    ceiling: Tensor | None = None
    n: Annotated[int, "sizes of a spike: the threshold, its half, a quarter and so on"] = 8
    differential: Annotated[
        bool, "whether a spike changes the mean that receivers hold (schedule steps only)"
    ] = False
    dead_zone: Annotated[
        float,
        "smallest potential that is sent, in smallest sizes, 0.5 to 1; differential form only",
    ] = 0.5
    graded = True
    spikes_per_step = 1

    def __post_init__(self) -> None:
        if not 1 <= self.n <= MOST:
            raise ValueError(f"n must be from 1 to {MOST}, not {self.n}")
        if not 0.5 <= self.dead_zone <= 1:
            raise ValueError(f"dead_zone must be from 0.5 to 1, not {self.dead_zone}")
        if self.dead_zone > 0.5 and not self.differential:
            raise ValueError("dead_zone is for differential=true")

    def scan(
        self, currents: Tensor, state: Any = None, *, keys: Keys | None = None
    ) -> tuple[Tensor, State]:
        """See `Neuron.scan`."""
        if self.differential:
            spikes, means, after = self.changes(currents, state, keys=keys)
            return means[:-1] + spikes, after
        return self._rate(currents, state)

    def _rate(
        self, currents: Tensor, state: FollowingState | None
    ) -> tuple[Tensor, FollowingState]:
        threshold = as_tensor(self.threshold, currents)
        start = filled_like(self.potential, currents[0])
        if state is None:
            state = at_rest(FollowingState, start, threshold)
        potential, total, sent = state.potential, state.total.clone(), state.sent.clone()
        out = sequence_like(currents)
        for step, current in enumerate(currents):
            total += current
            potential = (self._target(total, state.step + step + 1) + start).sub_(sent)
            spikes = self._spikes(potential, threshold, sent)
            out[step] = spikes
            sent += spikes
            potential = potential - spikes
        return out, FollowingState(potential, threshold, total, sent, state.step + len(currents))

    def changes(
        self, currents: Tensor, state: HeldState | None = None, *, keys: Keys | None = None
    ) -> tuple[Tensor, Tensor, HeldState]:
        """See `Changing.changes`."""
        del keys  # nothing here is random
        threshold = as_tensor(self.threshold, currents)
        start = filled_like(self.potential, currents[0])
        if state is None:
            state = at_rest(HeldState, start, threshold)
        potential, total, mean = state.potential, state.total.clone(), state.mean
        spikes, means = sequence_like(currents), [mean]
        for step, current in enumerate(currents):
            time = state.step + step + 1
            total += current
            sent = mean * time  # what its receivers will have taken in, if nothing changes
            potential = (self._target(total, time) + start).sub_(sent)
            spikes[step] = self._spikes(potential, threshold, sent)
            mean = mean + spikes[step] / time
            means.append(mean)
            potential = potential - spikes[step]
        after = HeldState(potential, threshold, total, mean, state.step + len(currents))
        return spikes, torch.stack(means), after

    def _spikes(self, potential: Tensor, threshold: Tensor, sent: Tensor) -> Tensor:
        """The nearest size to the potential, or the one below where that is less than was sent."""
        spikes = nearest_level(potential / threshold, self.n) * threshold
        if self.slope is None:  # nothing below zero is ever sent in all
            spikes = torch.where(sent + spikes < 0, spikes / 2, spikes)
            below = (sent + spikes < 0) | (spikes.abs() < threshold * 2.0 ** (1 - self.n))
            spikes = torch.where(below, 0.0, spikes)
        if self.dead_zone > 0.5:
            too_small = potential.abs() < threshold * (self.dead_zone * 2.0 ** (1 - self.n))
            spikes = torch.where(too_small, 0.0, spikes)
        return spikes

    @cached_property
    def _codes(self) -> bool:
        """Whether the activation is x itself."""
        slope = self.slope
        return slope is not None and self.ceiling is None and bool((slope == 1).all())

    def count(self, total: Tensor, steps: int) -> Tensor:
        """See `Patient.count`: in thresholds, and so with fractions."""
        return self.code(total, steps)[0]

    def code(self, total: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """See `Coding.code`."""
        charge = self._charge(total, steps)
        whole = charge.abs().add_(1 - BETWEEN).floor_().clamp_(0, steps)  # of the largest size
        sent = torch.copysign(whole, charge)
        left = charge.sub_(sent)
        if self.n <= TABLED:
            more, spikes = _looked_up(left, steps - whole, self.n)
        else:
            more, spikes = _sent(left, steps - whole, self.n)
        return sent.add_(more), whole.add_(spikes)

    def train(self, total: Tensor, at: range, *, steps: int) -> Tensor:
        """See `Coding.train`."""
        left, sent = self._charge(total, steps), []
        for step in range(at.stop):
            level = nearest_level(left, self.n)
            left = left - level
            if step >= at.start:
                sent.append(level)
        return torch.stack(sent)

    def _charge(self, total: Tensor, steps: int) -> Tensor:
        """What is to be sent in all, in thresholds."""
        charge = self._target(total, steps) + as_tensor(self.potential, total)
        return charge / as_tensor(self.threshold, total)

    def _target(self, total: Tensor, step: int) -> Tensor:
        """f_t of the accumulated current."""
        if self._codes:
            return total
        return followed(total, step, slope=self.slope, ceiling=self.ceiling)
