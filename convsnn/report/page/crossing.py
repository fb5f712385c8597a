"""Where the original's accuracy and the original's energy cross, in a network with functions.

Such networks need some steps to come close to their originals, and cost more with every step; what
counts is whether a number of steps is left at which both are met.

    within    how far below the original's score, in fractions, still counts as reached
    from      the first scored step from which on the score stays within that (None: at none)
    cheaper   by set of constants the last scored step at which the network costs less (0: at none)
    both      by set the scored steps at which both hold
"""

from collections.abc import Mapping, Sequence
from typing import Any

from convsnn.measure import Evaluation
from convsnn.measure.energy import Estimate

WITHIN = 0.01


def crossing(evaluation: Evaluation, found: Estimate) -> dict[str, Any] | None:
    """What stands under `crossing`; None where nothing is scored or no set prices the original."""
    first = evaluation.scores.get(evaluation.task.headline)
    sets = [one for one in found.sets if one.baselines["original"] is not None]
    if first is None or not sets:
        return None
    near = [bool(first.ann - score <= WITHIN + 1e-9) for score in first.snn.tolist()]
    by_set: dict[str, list[int]] = {}
    for one in sets:
        theirs = one.baselines["original"]
        assert theirs is not None  # by the choice of sets
        below = (one.spiking < theirs).tolist()
        by_set[one.constants.name] = [s for s, yes in zip(found.at, below, strict=True) if yes]
    reached = {step for step, yes in zip(found.at, near, strict=True) if yes}
    return {
        "metric": evaluation.task.headline,
        "within": WITHIN,
        "from": _lasting(found.at, near),
        "cheaper": {name: max(steps, default=0) for name, steps in by_set.items()},
        "both": {name: [s for s in steps if s in reached] for name, steps in by_set.items()},
    }


def _lasting(at: Sequence[int], near: Sequence[bool]) -> int | None:
    """The first of the steps `at` from which on all are near."""
    first = None
    for step, yes in zip(reversed(at), reversed(near), strict=True):
        if not yes:
            break
        first = step
    return first


def crossing_in_words(estimate: Mapping[str, Any], label: str) -> str:
    """The same in a sentence; empty where there is none."""
    found = estimate.get("crossing")
    if found is None:
        return ""
    points = f"{100 * found['within']:g} point of the ANN's"
    start = found["from"]
    near = f"{label} stays within {points} from step {start} on" if start else (
        f"{label} does not come to stay within {points}"
    )  # fmt: skip
    ends = [
        f"up to step {last} ({name})" if last else f"at no step ({name})"
        for name, last in found["cheaper"].items()
    ]
    both = [f"{_steps(steps)} ({name})" for name, steps in found["both"].items() if steps]
    met = f"both hold at {', '.join(both)}" if both else "no scored step has both"
    near = near[:1].upper() + near[1:]
    return f"{near}, energy below the ANN's {', '.join(ends)}: {met}."


def _steps(steps: Sequence[int]) -> str:
    return f"step{'s' if len(steps) > 1 else ''} {', '.join(map(str, steps))}"
