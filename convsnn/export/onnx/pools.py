"""Pools in ONNX. Rounded-up sizes become explicit borders, which all runtimes read alike."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from convsnn.export.onnx.doubles import averaged
from convsnn.export.onnx.emitter import Emitter
from convsnn.export.onnx.ops import writes
from convsnn.graph import Graph, Node
from convsnn.graph.ops import OPS


def borders(graph: Graph, node: Node) -> list[int]:
    """The padding of a pool, begins and ends, so that the windows of every output lie inside."""
    a, axes = node.attrs, len(node.attrs["kernel"])
    before = graph.shapes[graph.data_inputs(node)[0]][-axes:]
    after = graph.shapes[node.name][-axes:]
    begins, ends = list(a["padding"][:axes]), []
    for i in range(axes):
        dilation = a["dilation"][i] if "dilation" in a else 1
        reach = (after[i] - 1) * a["stride"][i] + dilation * (a["kernel"][i] - 1) + 1
        ends.append(max(a["padding"][axes + i], reach - before[i] - begins[i]))
    return begins + ends


@writes("max_pool")
def _max_pool(emit: Emitter, graph: Graph, node: Node, given: Sequence[str]) -> str:
    a = node.attrs
    return emit.op(
        "MaxPool", given[0], name=node.name, kernel_shape=list(a["kernel"]),
        strides=list(a["stride"]), dilations=list(a["dilation"]), pads=borders(graph, node),
    )  # fmt: skip


@writes("avg_pool")
def _avg_pool(emit: Emitter, graph: Graph, node: Node, given: Sequence[str]) -> str:
    a, axes, value = node.attrs, len(node.attrs["kernel"]), given[0]
    pads = borders(graph, node)
    if any(pads):  # apart from the pool: runtimes differ in what they count as inside
        none = [0] * (len(graph.shapes[node.name]) + 1 - axes)
        value = emit.op("Pad", value, emit.whole(*none, *pads[:axes], *none, *pads[axes:]))
    if emit.is_double:
        pooled = averaged(emit, value, graph.shapes[node.name][-axes:], a["kernel"], a["stride"])
    else:
        pooled = emit.op(
            "AveragePool", value, name=node.name, kernel_shape=list(a["kernel"]),
            strides=list(a["stride"]),
        )  # fmt: skip
    ones = torch.ones(1, *graph.shapes[graph.data_inputs(node)[0]], dtype=torch.float64)
    shares = OPS["avg_pool"].run(ones, **a) / _covered(ones, a, pads)
    if bool((shares == 1).all()):
        return pooled
    return emit.op("Mul", pooled, emit.constant(shares[:, :1], f"{node.name}.share"))


def _covered(ones: torch.Tensor, attrs: Mapping[str, Any], pads: Sequence[int]) -> torch.Tensor:
    """What the pool without any border of its own makes of ones between `pads`."""
    axes = len(pads) // 2
    pairs = [p for i in reversed(range(axes)) for p in (pads[i], pads[axes + i])]
    wide = torch.nn.functional.pad(ones, pairs)
    plain = {"kernel": attrs["kernel"], "stride": attrs["stride"], "padding": [0] * len(pads)}
    return OPS["avg_pool"].run(wide, **plain)


@writes("mean")
def _mean(emit: Emitter, graph: Graph, node: Node, given: Sequence[str]) -> str:
    del graph
    a = node.attrs
    return emit.op(
        "ReduceMean", given[0], name=node.name, axes=list(a["dims"]),
        keepdims=int(a.get("keepdim", False)),
    )  # fmt: skip


@writes("adaptive_avg_pool")
def _adaptive(emit: Emitter, graph: Graph, node: Node, given: Sequence[str]) -> str:
    """One axis after the other, each by a matrix of window means."""
    value, sizes = given[0], node.attrs["size"]
    before = graph.shapes[graph.data_inputs(node)[0]]
    rank = len(before) + 1
    for place, size in enumerate(sizes):
        axis = rank - len(sizes) + place
        eye = torch.eye(before[axis - 1], dtype=torch.float64)[None]
        matrix = OPS["adaptive_avg_pool"].run(eye, size=[size])[0]  # (in, out)
        swap = [*range(rank)]
        swap[axis], swap[-1] = swap[-1], swap[axis]
        value = emit.op("Transpose", value, perm=swap)
        value = emit.op("MatMul", value, emit.constant(matrix, f"{node.name}.means"))
        value = emit.op("Transpose", value, perm=swap)
    return value
