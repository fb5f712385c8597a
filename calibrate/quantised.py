"""Weights refitted in a network that fires layer by layer, its own quantiser: each layer in turn,
behind layers that are refitted already, without labels.

A layer with weights W and bias b gets x, what the layers before it send on average over T steps,
and makes the mean current z of it (residual sums and the like with it), where the original has u:

    min over D of   sum over images and places  |missing - D [x, 1]|^2  + r |D|^2

and [W, b] += strength D. The neurons behind send nothing for a current below zero, so that how far
below it lies is nothing to be met: with u <= 0, `missing` is 0 where z <= 0, and -z above;
elsewhere it is u - z. It depends on D, which `rounds` of Newton's method with the matrix of all
rows find, each for the cost of one product. r is `ridge` times the mean square of an input.

Rows are places of images, and some times as many as there are unknowns suffice: in each batch every
n-th along both axes, beginning anywhere, and all of them where the layer has few.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from calibrate.least_squares import (
    WIDEST,
    apply_change,
    by_group,
    features,
    fitted,
    passes_on,
    unknowns_of,
)
from calibrate.replay import LOTS, Replay
from calibrate.rows import Places, penalty_of, squared
from calibrate.stops import Layer
from convsnn.graph import Graph, Node, Site
from convsnn.graph.ops import Role
from convsnn.spiking.sharing import Share

ROWS = 64  # for each unknown of an output
BYTES = 1 << 28  # that the rows of one layer may take
HELD = 1 << 30  # bytes of activations that are held at once
FEWEST = 8
_ACTIVATIONS = (Role.ACTIVATION,)


@dataclass(frozen=True)
class Fit:
    """How a layer is fitted; see above."""

    ridge: float
    strength: float
    rounds: int


def refit_quantised(replay: Replay, fit: Fit) -> None:
    """Refit every layer of `replay`, whose plan changes on the way."""
    for number, layer in enumerate(replay.layers()):
        for node in fitted(replay.context.graph, layer):
            _refit(replay, layer, node, fit, seed=replay.context.seed + number)


def images_held(graph: Graph, most: int) -> int:
    """Images, `most` at most, whose activations fit into memory while layers are fitted."""
    largest = max(torch.Size(shape).numel() for shape in graph.shapes.values())
    return max(FEWEST, min(most, HELD // (16 * largest)))


@dataclass
class _Rows:
    """What a lot of images gives a layer to be fitted on, by group: its inputs (groups, unknowns,
    rows), the current that it makes now and the original's (groups, outputs, rows)."""

    inputs: Tensor
    current: Tensor
    wanted: Tensor


def _refit(replay: Replay, layer: Layer, node: Node, fit: Fit, *, seed: int) -> None:
    graph = replay.context.graph
    weight, biased = graph.weight(node), len(node.inputs) > 2
    wide = weight[0].numel() > WIDEST
    if (wide and not biased) or graph.data_inputs(node)[0] not in graph.behind(_ACTIVATIONS):
        return  # of what the input alone decides nothing is lost on the way
    ends = passes_on(layer, node)
    lots = _rows(replay, layer, node, layer.end if ends else node.name, wide=wide, seed=seed)
    groups, unknowns = node.attrs.get("groups", 1), unknowns_of(weight, wide, biased)
    nothing = weight.new_zeros(groups, unknowns, len(weight) // groups, dtype=torch.float64)
    change = _solved(
        lots, fit, nothing, replay.context.share, biased=biased, site=layer.site if ends else None
    )
    found = (fit.strength * change).to(weight).flatten(0, 1)
    apply_change(replay, node, found, wide=wide, biased=biased)


def _rows(
    replay: Replay, layer: Layer, node: Node, place: str, *, wide: bool, seed: int
) -> list[_Rows]:
    """The rows of the images of this process, a lot each."""
    weight, biased = replay.context.graph.weight(node), len(node.inputs) > 2
    unknowns = unknowns_of(weight, wide, biased)
    shape = torch.Size(replay.context.graph.shapes[node.name])
    places = shape.numel() // len(weight)
    groups = node.attrs.get("groups", 1)
    most = min(ROWS * unknowns, BYTES // (4 * unknowns * groups))
    some = Places.some(replay, node, most / (replay.images * places), seed=seed)
    lots: dict[int, list[tuple[Tensor, Tensor, Tensor]]] = {}
    for number, (spiking, original) in zip(replay.numbers(), replay.values(layer), strict=True):
        replay.keep_target(layer, number, original[layer.end][0])
        own, x, (z, u) = some.of(
            number, node, spiking[node.inputs[0]][0], spiking[place][0], original[place][0]
        )
        rows = features(own, weight, x, wide=wide, biased=biased)
        lots.setdefault(number % LOTS, []).append((rows, by_group(node, z), by_group(node, u)))
    parts = (lots.pop(number) for number in list(lots))  # one after another: they fill memory
    return [_Rows(*(torch.cat(each, 2) for each in zip(*lot, strict=True))) for lot in parts]


def _solved(
    lots: Sequence[_Rows],
    fit: Fit,
    nothing: Tensor,
    share: Share,
    *,
    biased: bool,
    site: Site | None,
) -> Tensor:
    """D, (groups, outputs of a group, unknowns), in float64, from the lots of all processes."""
    gram = nothing.new_zeros(*nothing.shape[:2], nothing.shape[1])
    for rows in lots:
        gram += squared(rows.inputs)
    gram = share.add(gram)
    diagonal = gram.diagonal(dim1=1, dim2=2)
    penalty = penalty_of(diagonal, fit.ridge, biased=biased)
    diagonal += penalty
    factor = torch.linalg.cholesky(gram)
    del gram, diagonal  # a gigabyte with all its like, where there are many inputs
    found = torch.zeros_like(nothing)
    for _ in range(fit.rounds if site is not None and not site.signed else 1):
        moment = nothing.clone()
        for rows in lots:
            current = rows.current + found.mT.to(rows.inputs) @ rows.inputs
            missing = _missing(rows.wanted, current, site)
            moment += rows.inputs @ missing.mT
        moment = share.add(moment) - penalty[..., None] * found
        found = found + torch.cholesky_solve(moment, factor)
    return found.mT


def _missing(wanted: Tensor, current: Tensor, site: Site | None) -> Tensor:
    """What the current lacks, where the neurons of `site` tell the difference."""
    if site is None or site.signed:
        return wanted - current
    met = torch.where(wanted > 0, wanted - current, -current.clamp(min=0))
    if site.ceiling is None:
        return met
    top = site.ceiling
    return torch.where(wanted >= top, (top - current).clamp(min=0), met)
