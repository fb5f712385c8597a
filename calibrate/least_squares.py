"""Layers as linear functions of what arrives: what is fitted of them, and to which features.

For stages that refit weights; nothing here is a stage.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from calibrate.replay import Replay
from calibrate.stops import Layer
from convsnn.graph import Graph, Node
from convsnn.graph.ops.weighted import split_padding

WIDEST = 4608  # inputs of one output: beyond it only the bias is fitted


def fitted(graph: Graph, layer: Layer) -> Iterator[Node]:
    """The nodes of a layer whose weights can be refitted: no other node shares their tensors."""
    uses = Counter(name for node in graph.nodes for name in node.inputs)
    for node in layer.nodes:
        known = node.op in ("conv", "linear") and graph.weight(node).dim() <= 4
        if known and all(uses[name] == 1 for name in node.inputs[1:]):
            yield node


def passes_on(layer: Layer, node: Node) -> bool:
    """Whether the value of `node` reaches the end of the layer as it is, in sums at most."""
    name = node.name
    for later in layer.nodes[layer.nodes.index(node) + 1 :]:
        if name in later.inputs:
            if later.op not in ("add", "identity", "add_constant"):
                return False
            name = later.name
    return name == layer.end


def unknowns_of(weight: Tensor, wide: bool, biased: bool) -> int:
    """What is fitted of each output: its weights unless it is `wide`, and its bias."""
    return (0 if wide else weight[0].numel()) + biased


def apply_change(replay: Replay, node: Node, change: Tensor, *, wide: bool, biased: bool) -> None:
    """Add `change` (outputs, features) to the weight and the bias of `node` in the plan."""
    known = {**replay.context.graph.tensors, **replay.plan.weights}
    changed = {}
    if biased:
        changed[node.inputs[2]] = known[node.inputs[2]] + change[:, -1]
        change = change[:, :-1]
    if not wide:
        weight = known[node.inputs[1]]
        changed[node.inputs[1]] = weight + change.reshape(weight.shape)
    replay.set_weights(changed)


def features(node: Node, weight: Tensor, x: Tensor, *, wide: bool, biased: bool) -> Tensor:
    """What every output of a group is a linear function of: (groups, features, places)."""
    groups = node.attrs.get("groups", 1)
    if node.op == "linear":
        rows = x.flatten(0, -2).mT[None]
    else:
        rows = _windows(node, weight, x).unflatten(1, (groups, -1)).movedim(0, 2).flatten(2)
    parts = [] if wide else [rows]
    if biased:
        parts.append(torch.ones_like(rows[:, :1]))
    return torch.cat(parts, 1)


def _windows(node: Node, weight: Tensor, x: Tensor) -> Tensor:
    """The inputs of each place of a convolution, (B, channels x kernel, places)."""
    padding, pads = split_padding(node.attrs["padding"])
    if pads is not None:
        x = F.pad(x, pads)
    if weight.dim() == 3:  # unfold knows images only
        x = x[:, :, None]
    return F.unfold(
        x,
        _pair(weight.shape[2:], 1),
        dilation=_pair(node.attrs["dilation"], 1),
        padding=_pair(padding, 0),
        stride=_pair(node.attrs["stride"], 1),
    )


def _pair(sizes: Sequence[int], missing: int) -> tuple[int, int]:
    """Two sizes, the first `missing` where there is one axis only."""
    return (sizes[0], sizes[1]) if len(sizes) == 2 else (missing, sizes[0])


def by_group(node: Node, value: Tensor) -> Tensor:
    """(B, ...) as (groups, outputs of a group, places), places in the order of `_features`."""
    if node.op == "linear":
        return value.flatten(0, -2).mT[None]
    groups = node.attrs.get("groups", 1)
    return value.flatten(2).unflatten(1, (groups, -1)).movedim(0, 2).flatten(2)
