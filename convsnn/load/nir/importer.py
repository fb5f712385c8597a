"""A NIR graph as our graph, with what it says of its neurons: thresholds, resets, potentials.

Every IF node becomes an activation, a place where neurons stand. In NIR an IF neuron sends 1 where
its potential is above the threshold. What its reset is, the file may say twice: our metadata says
`subtract` or `zero` and wins; `v_reset` (NIR 1.0.5 and newer) is a potential, of which only 0 can
be had; a file with neither is of the older vocabulary, which subtracts the threshold.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from convsnn.errors import Blocker, LoadError, UnsupportedError
from convsnn.graph import Graph
from convsnn.load.nir.file import read_fields
from convsnn.load.nir.nodes import BUILDERS, REFUSED, Building
from convsnn.load.nir.order import drivers, in_order


@dataclass(frozen=True)
class Given:
    """What a NIR file holds: a graph, and of its neurons, by site, thresholds and potentials.

    `reset` is "soft" or "zero"; `strict` says that they fire above the threshold, not at it.
    `metadata` are the texts that the graph carries.
    """

    graph: Graph
    thresholds: Mapping[str, Tensor]
    potentials: Mapping[str, Tensor]
    reset: str
    strict: bool
    metadata: Mapping[str, str]

    @property
    def neuron(self) -> str:
        """The neurons that do what the file says, whose spikes are 1 whatever their threshold."""
        ones = all(bool((value == 1).all()) for value in self.thresholds.values())
        if ones and not self.strict:
            return "if" if self.reset == "soft" else "if:reset=zero"
        strict = ",strict=true" if self.strict else ""
        return f"lif:decay=1,reset={self.reset},sends=one{strict}"


def load_nir(path: str | Path) -> Given:
    """Read the NIR graph in `path`.

    Raises LoadError, naming the node, where the file is damaged, a node lacks a field or does not
    fit, or edges form a cycle; UnsupportedError with all nodes that have no form here;
    MissingExtraError where the package is missing that reads HDF5.
    """
    path = Path(path)
    _, fields = read_fields(path)
    try:
        return _read(fields)
    except LoadError as error:
        raise LoadError(f"'{path}': {error}", hint=error.hint) from None


def _read(fields: Mapping[str, Any]) -> Given:
    nodes, edges = fields.get("nodes"), fields.get("edges")
    if not isinstance(nodes, dict) or not isinstance(edges, list) or not nodes:
        raise LoadError("it holds no graph: 'nodes' or 'edges' is missing")
    kinds = {name: _kind(name, node) for name, node in nodes.items()}
    _require_known(kinds)
    before = drivers(kinds, edges)
    building = Building()
    for name in in_order(before):
        sources = before[name]
        if kinds[name] != "Input" and not sources:
            raise LoadError(f"node '{name}' ({kinds[name]}) has no edge into it")
        BUILDERS[kinds[name]](building, name, nodes[name], sources)
    if not building.inputs or not building.outputs:
        raise LoadError(f"the graph has no {'output' if building.inputs else 'input'}")
    if len(building.inputs) > 1:
        raise LoadError(f"a network has one input; this has {', '.join(building.inputs)}")
    if not building.sites:
        raise UnsupportedError("the graph holds no IF neurons, so there is nothing to run")
    graph = Graph(tuple(building.nodes), building.tensors, tuple(building.outputs))
    sites = building.sites
    return Given(
        graph,
        {name: site.threshold for name, site in sites.items()},
        {name: site.potential for name, site in sites.items()},
        _shared({name: site.reset for name, site in sites.items()}, "reset"),
        _shared({name: site.strict for name, site in sites.items()}, "rule of firing"),
        {k: v for k, v in fields.get("metadata", {}).items() if isinstance(v, str)},
    )


def _kind(name: str, node: Any) -> str:
    if not isinstance(node, dict) or not isinstance(node.get("type"), str):
        raise LoadError(f"node '{name}' does not say its type")
    kind: str = node["type"]
    return kind


def _require_known(kinds: Mapping[str, str]) -> None:
    items = [
        Blocker(
            name, kind, *REFUSED.get(kind, (f"NIR has no node '{kind}' that is known here", ""))
        )
        for name, kind in kinds.items()
        if kind not in BUILDERS
    ]
    if items:
        names = ", ".join(f"{item.layer} ({item.op})" for item in items)
        raise UnsupportedError(
            f"{len(items)} node(s) of the NIR graph cannot be run here: {names}", items
        )


def _shared(values: Mapping[str, Any], what: str) -> Any:
    """What all layers of neurons have in common; UnsupportedError where they differ."""
    if len(set(values.values())) > 1:
        each = ", ".join(f"{name}: {value}" for name, value in values.items())
        raise UnsupportedError(f"its neurons differ in their {what} ({each})")
    return next(iter(values.values()))
