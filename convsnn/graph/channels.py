"""Which axis of a value holds its channels, followed from the layer that made them.

Channel-wise methods give every channel a threshold of its own. Convolutions make channels on the
first axis of a sample, fully connected layers on the last; what moves values moves them along.
"""

from collections.abc import Mapping, Sequence
from math import prod

from convsnn.graph.node import Node


def channel_axes(nodes: Sequence[Node], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """For each node the axis of one sample of its value that holds the channels.

    `nodes` in the order they are run, `shapes` that of one sample of each.
    """
    found: dict[str, int] = {}
    for node in nodes:
        shape, inputs = shapes[node.name], [name for name in node.inputs if name in shapes]
        axis = 0
        if node.op == "linear":
            axis = len(shape) - 1
        elif node.op == "code":
            axis = node.attrs["axis"]
        elif inputs and node.op not in ("conv", "conv_transpose"):
            axis = _moved(node, shapes[inputs[0]], shape, found[inputs[0]])
        found[node.name] = axis if 0 <= axis < len(shape) else 0
    return found


def _moved(node: Node, before: Sequence[int], after: Sequence[int], axis: int) -> int:
    """Where `axis` of the first input stands in the result; 0 where it is gone."""
    if node.op == "permute":
        return int(list(node.attrs["dims"]).index(axis + 1)) - 1
    if node.op == "mean" and not node.attrs.get("keepdim"):
        gone = {dim - 1 for dim in node.attrs["dims"]}
        return 0 if axis in gone else axis - sum(dim < axis for dim in gone)
    if node.op == "reshape" and before:
        # an axis is the same one where as many elements lie before it and it is as long
        places = [j for j, n in enumerate(after) if n == before[axis]]
        same = [j for j in places if prod(after[:j]) == prod(before[:axis])]
        return same[0] if same else 0
    return axis if len(after) == len(before) else 0
