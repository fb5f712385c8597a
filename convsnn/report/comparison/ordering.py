"""Whether methods stand in the order of the literature, and where not, what differs.

Published methods start from different networks, so a method is judged by the points that it loses
against its own original. Two methods are ordered by the literature at a number of steps where both
are reported for a network, and on every such network the same one loses less, by a margin.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt
from typing import Any

MARGIN = 1.0  # points: papers that differ by less say nothing about another network
SIGMAS = 2.0  # standard errors of a difference of two accuracies that count as a difference

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Order:
    """How many pairs of methods stand as published, too close to tell, and the other way round.

    Each pair counts once, by the largest number of steps at which the literature orders it.
    """

    alike: int
    close: int
    opposite: int
    notes: tuple[str, ...]


def order(rows: Sequence[Row], *, samples: int) -> Order:
    """Compare every pair of `rows`, whose accuracies are from `samples` images.

    A row has `title`, `score` (fractions by step, as text), `differs` and `published`. There is
    one note for every method that is behind others which the literature puts behind it.
    """
    alike = close = 0
    behind: dict[tuple[str, int], list[_Pair]] = {}
    for one, other in combinations(rows, 2):
        for step in sorted({int(s) for s in one["score"]}, reverse=True):
            pair = _published(one, other, step) or _published(other, one, step)
            if pair is None:
                continue
            ahead = _ahead(pair.better, pair.worse, step, samples)
            if ahead < -1:
                behind.setdefault((pair.better["title"], step), []).append(pair)
            alike, close = alike + (ahead > 1), close + (-1 <= ahead <= 1)
            break
    reversed_pairs = sum(len(pairs) for pairs in behind.values())
    notes = tuple(_note(pairs, step) for (_, step), pairs in behind.items())
    return Order(alike, close, reversed_pairs, notes)


@dataclass(frozen=True)
class _Pair:
    """Two methods that the literature orders, and the cells of each network that it does so by."""

    better: Row
    worse: Row
    cells: Sequence[tuple[Row, Row]]


def _published(better: Row, worse: Row, step: int) -> _Pair | None:
    """The pair, where `better` loses less on every network that both are reported for."""
    there, key = {cell["network"]: cell for cell in worse["published"]}, str(step)
    cells = [
        (mine, theirs)
        for mine in better["published"]
        if (theirs := there.get(mine["network"])) is not None
        and key in mine["accuracy"].keys() & theirs["accuracy"].keys()
    ]
    gaps = [_lost(theirs, key) - _lost(mine, key) for mine, theirs in cells]
    return _Pair(better, worse, cells) if gaps and min(gaps) >= MARGIN else None


def _lost(cell: Row, step: str) -> float:
    return float(cell["ann"] - cell["accuracy"][step])


def _ahead(better: Row, worse: Row, step: int, samples: int) -> float:
    """How far `better` is ahead of `worse` here, in units of what counts as a difference."""
    p, q = better["score"][str(step)], worse["score"][str(step)]
    error = sqrt((p * (1 - p) + q * (1 - q)) / max(1, samples))
    # two accuracies at 0 or 1 have no spread; one image is then the smallest difference there is
    return float((p - q) / max(SIGMAS * error, 1 / max(1, samples)))


def _note(pairs: Sequence[_Pair], step: int) -> str:
    better, key = pairs[0].better, str(step)
    others = "; ".join(
        f"{pair.worse['title']} ({100 * pair.worse['score'][key]:.2f} %; reported for "
        f"{mine['network']}: {theirs['accuracy'][key]:.2f} of {theirs['ann']:.2f} against "
        f"{mine['accuracy'][key]:.2f} of {mine['ann']:.2f})"
        for pair in pairs
        for mine, theirs in pair.cells[:1]
    )
    sources = " and ".join(
        dict.fromkeys(c["source"] for pair in pairs for cells in pair.cells[:1] for c in cells)
    )
    unlike = {row["title"]: row["differs"] for pair in pairs for row in (better, pair.worse)}
    known = [f"{title}: {text}" for title, text in unlike.items() if text]
    why = f" Beside the network: {'; '.join(known)}." if known else " The networks differ."
    return (
        f"After {step} steps {better['title']} ({100 * better['score'][key]:.2f} %) is behind "
        f"methods that lose more than it in {sources}: {others}.{why}"
    )
