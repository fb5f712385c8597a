"""Series over the time steps, as a report lists them."""

from math import isfinite

from torch import Tensor

from convsnn.measure import Evaluation


def per_step(evaluation: Evaluation, series: Tensor) -> list[float | None]:
    """`series` as a report lists it, an entry for every step; None for steps that were not run."""
    activity = evaluation.activity
    known = dict(zip(activity.at, series.tolist(), strict=True))
    found = (known.get(step) for step in range(1, activity.steps + 1))
    return [None if value is None or not isfinite(value) else value for value in found]
