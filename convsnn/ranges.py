"""How large a number may be, in one place: what lies beyond is a slip of the hand, not a plan.

The bounds are far above what anybody runs, and low enough that none of them overflows a 64-bit
number, a page of results or a counter on the way.
"""

import math

from convsnn.errors import ConfigError

STEPS = 1_000_000
BATCH = 1_000_000
SEED = 2**63 - 1
COUNT = 2**31 - 1  # of anything else
SIDE = 16_384  # of an image, in pixels
VALUES = 2**28  # of one sample: a gigabyte in float32
LARGE, SMALL = 1e30, 1e-30  # what float32 can divide by and multiply with


def whole(value: object, what: str, *, least: int = 0, most: int = COUNT) -> int:
    """`value` where it is a whole number in the range; ConfigError names `what` otherwise."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ConfigError(f"{what} must be a whole number from {least} to {most}, not {value!r}")
    return value


def finite(value: object, what: str) -> float:
    """`value` where it is a number that is finite; ConfigError names `what` otherwise."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value):  # type: ignore[arg-type]  # it is a number here
        raise ConfigError(f"{what} must be a finite number, not {value!r}")
    return float(value)  # type: ignore[arg-type]
