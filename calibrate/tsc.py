"""Turns for temporal-switch coding (Han and Roy 2020; a reconstruction, see `convsnn.neurons.tsc`).

Every layer sends in the window behind the last of those it reads: turn = layers of neurons on the
longest way from the input. Thresholds are those of the stages before; a gap is rounded to the
nearest level by itself, so initial potentials are set to zero.

Max-pooling takes the largest of running sums at every step. Pairs that begin together and carry
the same threshold give it the longest of their gaps, which is exact; whatever has passed through
weights or an average first does not, and is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from calibrate.base import CALIBRATORS, Context
from convsnn.errors import Blocker, ConfigError, UnsupportedError
from convsnn.graph import Graph, Node
from convsnn.graph.ops import Role
from convsnn.spiking.plan import Plan
from convsnn.spiking.turns import takes_turns, turns

_SENDS = (Role.ACTIVATION, Role.INPUT)
_MOVES = ("reshape", "permute", "slice", "concat", "identity", "pad")


@CALIBRATORS.register("tsc")
@dataclass(frozen=True)
class Turns:
    """The turn of every layer for the neuron tsc, behind stages that set thresholds."""

    def __call__(self, context: Context, plan: Plan) -> Plan:
        """See `Stage`. Raises ConfigError for another neuron, UnsupportedError for max-pooling of
        what is not sent."""
        if not takes_turns(context.neuron):
            raise ConfigError(
                f"the stage tsc is for the neuron tsc, not for '{context.neuron}'",
                hint="leave the stage out, or use --neuron tsc --encoder tsc --readout switch",
            )
        plan.check(context.graph)
        _require_sent(context.graph)
        found = turns(context.graph)
        sites = {}
        for name, planned in plan.sites.items():
            turn = torch.tensor(float(found[name])).to(planned.threshold)
            rest = torch.zeros_like(planned.potential)
            sites[name] = replace(planned, potential=rest, turn=turn)
        return plan.with_sites(sites, {"stage": "tsc", "turns": max(found.values())})


def _require_sent(graph: Graph) -> None:
    """Refuse max-pooling of anything but spikes as they were sent; all such places at once."""
    places = [
        node
        for node in graph.nodes
        if node.role is Role.MAX_POOL and not all(_is_sent(n) for n in _sources(graph, node))
    ]
    if not places:
        return
    reason = "of layers that take turns, max-pooling is exact behind neurons only"
    remedy = "use another neuron, or --max-pool exact"
    raise UnsupportedError(
        f"{', '.join(node.name for node in places)}: {reason}",
        [Blocker(n.name, n.op, reason, remedy, n.source) for n in places],
        hint=remedy,
    )


def _is_sent(node: Node) -> bool:
    return node.role in _SENDS


def _sources(graph: Graph, node: Node) -> Iterator[Node]:
    """What stands before `node`, looking through whatever moves or pools values as they are."""
    for name in graph.data_inputs(node):
        before = graph.by_name[name]
        if before.op in _MOVES or before.role is Role.MAX_POOL:
            yield from _sources(graph, before)
        else:
            yield before
