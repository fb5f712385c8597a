"""What kind of network it is, said first wherever it is shown, and which kinds the user allows.

binary                   neurons send a spike or none, of either sign
graded                   spikes have several sizes, or two moving values are multiplied
graded, partly analog    functions such as softmax are computed on accumulated values too
"""

from collections.abc import Collection, Iterable
from typing import Literal

from convsnn.errors import Blocker, ConfigError, UnsupportedError
from convsnn.graph import Graph
from convsnn.graph.ops import Role
from convsnn.neurons import NEURONS

BINARY, GRADED, ANALOG = "binary", "graded", "graded, partly analog"
KINDS = (BINARY, GRADED, ANALOG)
Spikes = Literal["binary", "graded", "any"]
_REFUSED: dict[str, tuple[Role, ...]] = {
    "binary": (Role.FUNCTION, Role.PRODUCT),
    "graded": (Role.FUNCTION,),
    "any": (),
}


def kind_of(graph: Graph, graded: Iterable[bool]) -> str:
    """The kind of a network; `graded` says of each of its populations whether spikes differ in
    size."""
    roles = {node.role for node in graph.smooth}
    if Role.FUNCTION in roles:
        return ANALOG
    return GRADED if roles or any(graded) else BINARY


def refused_roles(spikes: str) -> Collection[Role]:
    """The roles of ops that a network may not have where `spikes` are allowed; ConfigError where
    there is no such word."""
    if spikes not in _REFUSED:
        known = ", ".join(_REFUSED)
        raise ConfigError(f"there are no spikes '{spikes}'", hint=f"known: {known}")
    return _REFUSED[spikes]


def require_spikes(graph: Graph, spikes: str, *, neuron: str) -> None:
    """Refuse what is not allowed: UnsupportedError with every layer, ConfigError for a neuron that
    sends more than binary spikes."""
    graph.require_convertible(refused_roles(spikes))
    if spikes == "binary" and NEURONS.create(neuron, threshold=1.0).graded:
        raise ConfigError(
            f"the neuron '{neuron}' sends spikes of several sizes, which are not binary",
            hint="use --neuron if, or --spikes graded",
        )


def require_neurons_only(
    graph: Graph, form: str, *, instead: str = "run it as it is, with convert and evaluate"
) -> None:
    """UnsupportedError with every function and product, where `form` knows neurons and weights
    only; `instead` is what to do with such a network."""
    if not graph.smooth:
        return
    reason = f"{form} has neurons and weights only"
    items = [Blocker(n.name, n.op, reason, instead, n.source) for n in graph.smooth]
    names = ", ".join(f"{item.layer} ({item.op})" for item in items)
    said = f"{form} has no place for functions and products: {names}"
    raise UnsupportedError(said, items, hint=instead)
