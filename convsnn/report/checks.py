"""What a value of a report may be: checks that say what is wrong with it, and how they combine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Scope:
    """How many time steps a report is about, and those, counted from 1, that were not scored."""

    steps: int
    left_out: frozenset[int] = frozenset()


Check: TypeAlias = Callable[[object, Scope], str]  # -> what is wrong, or ""

LARGEST = 1e300  # beyond it arithmetic on a report could overflow


def text(value: object, _: Scope) -> str:
    """Text."""

    return "" if isinstance(value, str) else "is not text"


def between(low: float, high: float, wrong: str) -> Check:
    """A finite number from `low` to `high`; `wrong` says that it is not within."""

    def check(value: object, _: Scope) -> str:
        if not isinstance(value, int | float) or isinstance(value, bool):
            return "is not a number"
        if not abs(value) <= LARGEST:  # NaN compares false
            return "is not a finite number"
        return "" if low <= value <= high else wrong

    return check


number = between(-LARGEST, LARGEST, "")
amount = between(0, LARGEST, "is negative")
fraction = between(0, 1, "is not within 0..1")


def count(value: object, scope: Scope) -> str:
    """A whole number of at least 0."""

    return amount(value, scope) or ("" if isinstance(value, int) else "is not a whole number")


def equals(expected: object) -> Check:
    """Nothing but `expected`."""

    return lambda value, _: "" if value == expected else f"is not {expected!r}"


def as_list(value: object) -> Sequence[object] | None:
    """`value` where it is a list."""

    return value if isinstance(value, list | tuple) else None


def each(check: Check) -> Check:
    """A list of what `check` takes."""

    def every(value: object, scope: Scope) -> str:
        if (items := as_list(value)) is None:
            return "is not a list"
        found = ((i, check(item, scope)) for i, item in enumerate(items))
        return next((f"[{i}] {wrong}" for i, wrong in found if wrong), "")

    return every


def per_step(check: Check) -> Check:
    """A list with an entry for every step, null where it was not scored."""

    def series(value: object, scope: Scope) -> str:
        if (items := as_list(value)) is None:
            return "is not a list"
        if len(items) != scope.steps:
            return f"has {len(items)} values for {scope.steps} time steps"
        for step, item in enumerate(items, start=1):
            wrong = (null if step in scope.left_out else check)(item, scope)
            if wrong:
                return f"[{step - 1}] {wrong}"
        return ""

    return series


def either(*checks: Check) -> Check:
    """What one of `checks` takes."""

    def some(value: object, scope: Scope) -> str:
        wrong = [check(value, scope) for check in checks]
        return "" if "" in wrong else wrong[-1]

    return some


null = equals(None)
