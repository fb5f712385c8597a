"""Networks with quantised values, to hold spiking ones against: the same calibration images, no
training, weights as they are.

Every activation gets a uniform quantiser of b bits a channel, with the range of least squared error
(`calibrate.mse`): a value is one of 2^b - 1 steps or zero, beside its sign where it has one. That
is what neurons make that fire layer by layer for 2^b - 1 steps, so such a network is what stands
for it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from torch import Tensor

from calibrate.base import Context
from calibrate.staircases import BINS, ENOUGH, best_thresholds
from calibrate.statistics import histograms, maxima
from calibrate.thresholds import guarded, site_plan
from convsnn.encoders import ENCODERS
from convsnn.errors import UnsupportedError
from convsnn.graph import Graph, Node
from convsnn.graph.fits import fitted_nodes
from convsnn.spiking.network import Spiking, to_spiking
from convsnn.spiking.plan import Plan
from convsnn.spiking.sharing import ALONE, Share

HALF = 0.5  # of a step: values are rounded to the nearest
GRID = 100  # ranges that are tried, up to the largest value


def levels(bits: int) -> int:
    """Steps above zero of a value of `bits` bits."""
    return (1 << bits) - 1


def quantised(
    graph: Graph, batches: Iterable[Tensor], widths: Sequence[int], *, share: Share = ALONE
) -> dict[int, Spiking]:
    """By bits, the network whose values have so many; `graph` is the original in the exact form
    that a spiking network was made from. Of several processes each takes a `share`. Raises
    CalibrationError as any calibration does, and UnsupportedError where functions were fitted."""
    if fits := fitted_nodes(graph):
        names = ", ".join(node.name for node in fits)
        raise UnsupportedError(
            f"there is no form of few bits for functions that were fitted: {names}"
        )
    plain = replace(graph, nodes=tuple(_undone(node) for node in graph.nodes))
    encoder = ENCODERS.create("direct")
    context = Context(plain, batches, "if", encoder, levels(max(widths)), 0, "layers", share)
    tops = maxima(context.part(0.0, 0.4))
    found = histograms(context.part(0.4, 1.0), tops, per_channel=True, bins=BINS, most=ENOUGH)
    made = {}
    for bits in widths:
        sites = {}
        for name, site in plain.sites.items():
            best = best_thresholds(found[name], levels(bits), HALF, GRID)
            sites[name] = site_plan(site, guarded(best, tops[name]), HALF, tops[name])
        made[bits] = to_spiking(plain, Plan(sites), schedule="layers")
    return made


def _undone(node: Node) -> Node:
    """`node`, a pool of the original again where each step was to be pooled."""
    if not node.attrs.get("each_step"):
        return node
    return replace(node, attrs={**node.attrs, "each_step": False})
