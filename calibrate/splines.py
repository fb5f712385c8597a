"""The line of a few pieces that is closest to a function on given values.

Where the pieces meet is found by dynamic programming over candidate places: the least squared
error of all ways to cut the range into so many pieces, each with its own best line. The values at
the places, which two pieces share, are then fitted together by least squares.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
CANDIDATES = 64  # places that are tried, half of them by rank and half evenly over the range
_RIDGE = 1e-9


def closest_line(x: Array, y: Array, pieces: int) -> tuple[Array, Array]:
    """Places t and values v, at most `pieces` + 1 each, of the line closest to y over x (N,).

    `x` has at least two different values.
    """
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    even = np.linspace(x[0], x[-1], CANDIDATES // 2 + 1)
    ranked = np.quantile(x, np.linspace(0, 1, CANDIDATES // 2 + 1))
    found = np.unique(np.concatenate([even, ranked]))
    apart = np.concatenate([[True], np.diff(found) > 1e-6 * (x[-1] - x[0])])
    apart[-1] = True
    candidates = found[apart]
    if len(candidates) > 2 and candidates[-1] - candidates[-2] <= 1e-6 * (x[-1] - x[0]):
        candidates = np.delete(candidates, -2)
    places = _cut(x, y, candidates, min(pieces, len(candidates) - 1))
    return places, _values(x, y, places)


def on_line(x: Array, places: Array, values: Array) -> Array:
    """The line at x, flat beyond both ends."""
    return np.interp(x, places, values)


def _cut(x: Array, y: Array, candidates: Array, pieces: int) -> Array:
    """The candidates at which `pieces` lines meet with the least squared error."""
    cost = _costs(x, y, candidates)
    count = len(candidates)
    best = cost[0].copy()  # of the first piece, up to each candidate
    came: list[NDArray[np.int64]] = []
    for _ in range(pieces - 1):
        whole = best[:, None] + cost
        came.append(whole.argmin(0))
        best = whole.min(0)
    place, chosen = count - 1, [count - 1]
    for step in reversed(came):
        place = int(step[place])
        chosen.append(place)
    return candidates[np.unique([0, *chosen])]


def _costs(x: Array, y: Array, candidates: Array) -> Array:
    """The squared error of the best line from each candidate to each later one; elsewhere 0 on the
    diagonal, so that fewer pieces may do, and infinite."""
    middle = x.mean()
    x, edges = x - middle, np.searchsorted(x, candidates, side="left")
    edges[-1] = len(x)
    rows = np.stack([np.ones_like(x), x, x * x, y, x * y, y * y])
    sums = np.concatenate([np.zeros((6, 1)), rows.cumsum(1)], 1)[:, edges]
    n, sx, sxx, sy, sxy, syy = sums[:, None, :] - sums[:, :, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        across, along, up = sxx - sx * sx / n, sxy - sx * sy / n, syy - sy * sy / n
        error = up - np.where(across > 1e-12, along**2 / across, 0.0)
    error = np.where(n > 0, np.maximum(error, 0.0), 0.0)
    later = np.triu(np.ones_like(error), 1) > 0
    cost = np.where(later, error, np.inf)
    np.fill_diagonal(cost, 0.0)
    return cost


def _values(x: Array, y: Array, places: Array) -> Array:
    """The values at `places` of the line that is closest, by least squares."""
    basis = np.stack([np.interp(x, places, row) for row in np.eye(len(places))], 1)
    square = basis.T @ basis
    weight = _RIDGE * (1 + np.trace(square))  # where no value lies, the function itself
    start = np.interp(places, x, y)
    moved = np.linalg.solve(square + weight * np.eye(len(places)), basis.T @ (y - basis @ start))
    return start + moved
