"""How the learning rate falls from the start of training, 0, to its end, 1.

cosine          half a cosine, from 1 to 0
cosine:N        N halves of a cosine one after the other: from 1 to 0, back to 1 and so on
steps:A/B/...   the factors A, B, ... of the learning rate, for a stretch of the same length each
"""

import math

from convsnn.errors import ConfigError

COSINE, WAVES, STEPS = "cosine", "cosine:", "steps:"
_CLOSE = 1e-9  # what rounding may leave a whole number short of


def factor(schedule: str, progress: float) -> float:
    """What the learning rate is multiplied by at `progress` (0 to 1); see `check` for errors."""
    factors = check(schedule)
    progress = min(1.0, progress)
    if isinstance(factors, int):
        return 0.5 * (1 + math.cos(math.pi * factors * progress))
    return factors[min(int(progress * len(factors) + _CLOSE), len(factors) - 1)]


def check(schedule: str) -> list[float] | int:
    """The factors of steps, or the halves of a cosine; ConfigError for what is neither."""
    if schedule == COSINE:
        return 1
    if schedule.startswith(WAVES):
        text = schedule.removeprefix(WAVES)
        if text.isascii() and text.isdigit() and 0 < int(text) < 10**6:
            return int(text)
    try:
        factors = [float(text) for text in schedule.removeprefix(STEPS).split("/")]
    except ValueError:
        factors = []
    if not schedule.startswith(STEPS) or not factors or not all(0 < f <= 1 for f in factors):
        raise ConfigError(
            f"a learning rate cannot follow the schedule '{schedule}'",
            hint="write cosine, cosine:N for N halves of one, or steps:1/0.1/0.01 with factors "
            "above 0 and up to 1",
        )
    return factors
