"""The order in which the nodes of a NIR graph can be run; cycles are named."""

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from convsnn.errors import LoadError


def drivers(kinds: Mapping[str, str], edges: Sequence[Any]) -> dict[str, list[str]]:
    """For every node the nodes that drive it, in the order of the edges."""
    before: dict[str, list[str]] = {name: [] for name in kinds}
    for number, edge in enumerate(edges):
        if not isinstance(edge, list) or len(edge) != 2:
            raise LoadError(f"edge {number} is not a pair of names")
        source, target = edge
        for name in (source, target):
            if name not in before:
                raise LoadError(f"the edge {source} -> {target} names '{name}', which is no node")
        if source in before[target]:
            raise LoadError(f"the edge {source} -> {target} is there twice")
        before[target].append(source)
    return before


def in_order(before: Mapping[str, Sequence[str]]) -> list[str]:
    """The nodes so that each comes behind what drives it."""
    try:
        return list(TopologicalSorter(before).static_order())
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise LoadError(
            f"its edges go round in a circle: {circle}",
            hint="recurrent networks cannot be run here; only feed-forward ones",
        ) from None
