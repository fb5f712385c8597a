"""How far two networks are apart that answered the same images: a loss and its interval.

Of N images b are right in the one network alone and c in the other alone. The loss of accuracy is
(b - c) / N; its interval is that of a difference of paired shares with half a pair added to each of
the four outcomes (Agresti and Min 2005):

    (b - c) / (N + 2)  +-  1.96 sqrt(b + c + 1 - (b - c)^2 / (N + 2)) / (N + 2)

Where only the numbers of right answers are known, p N and q N, nothing tells how many images the
two share, and one right and one wrong answer are added to each (Agresti and Caffo 2000):

    p' - q'  +-  1.96 sqrt((p' (1 - p') + q' (1 - q')) / (N + 2)),   p' = (p N + 1) / (N + 2)
"""

from math import sqrt

from torch import Tensor

WIDE = 1.959964  # standard deviations, for 95 %


def loss(right: Tensor, before: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of accuracy and both ends of its 95 % interval, (T,) each, fractions.

    `right` (T, N) and `before` (N,) say which answers of the one network, after each of T steps,
    and of the other are right. None loses more than it had, so the interval ends at both shares.
    """
    lost = (before & ~right).sum(1).double()
    won = (right & ~before).sum(1).double()
    has, had, count = right.double().mean(1), before.double().mean(), len(before) + 2
    apart = lost - won
    reach = WIDE * (lost + won + 1 - apart**2 / count).sqrt() / count
    low, high = (apart / count - reach).maximum(-has), (apart / count + reach).minimum(had)
    return apart / len(before), low, high


def loss_of_shares(share: float, before: float, *, samples: int) -> tuple[float, float, float]:
    """The same from the shares of right answers alone, of as many `samples` each."""
    p, q = ((samples * each + 1) / (samples + 2) for each in (before, share))
    reach = WIDE * sqrt((p * (1 - p) + q * (1 - q)) / (samples + 2))
    return before - share, max(p - q - reach, -share), min(p - q + reach, before)
