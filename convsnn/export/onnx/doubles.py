"""Layers in float64, from ops that ONNX Runtime has in float64: it has no convolution and no
average pooling there. A convolution is a matrix product with what every tap of the kernel sees:

    y[n, o, p] = sum over taps k and channels c of w[o, c, k] x[n, c, stride p + dilation k]
"""

from collections.abc import Sequence
from itertools import product
from math import prod

from convsnn.errors import ExportError
from convsnn.export.onnx.emitter import Emitter
from convsnn.graph import Graph, Node


def convolved(emit: Emitter, graph: Graph, node: Node, given: Sequence[str]) -> str:
    """A convolution of any number of axes, with stride, dilation, groups and borders."""
    a, weight = node.attrs, graph.weight(node)
    kernel, out = list(weight.shape[2:]), graph.shapes[node.name][1:]
    groups, axes = a.get("groups", 1), len(kernel)
    padded = _padded(emit, given[0], a["padding"], axes)
    channels, rows = weight.shape[1], len(weight) // groups
    seen = [
        emit.op("Reshape", tap, emit.whole(0, groups, channels, prod(out)))
        for tap in _taps(emit, padded, kernel, out, a["stride"], a["dilation"])
    ]
    columns = seen[0] if len(seen) == 1 else emit.op("Concat", *seen, axis=2)
    turned = emit.op(
        "Transpose", given[1], perm=[0, *range(2, 2 + axes), 1]
    )  # taps before channels
    matrix = emit.op("Reshape", turned, emit.whole(groups, rows, prod(kernel) * channels))
    products = emit.op("MatMul", matrix, columns)
    value = emit.op("Reshape", products, emit.whole(0, len(weight), *out), name=node.name)
    if len(given) == 2:
        return value
    bias = emit.op("Reshape", given[2], emit.whole(-1, *[1] * axes))
    return emit.op("Add", value, bias)


def averaged(
    emit: Emitter, value: str, out: Sequence[int], kernel: Sequence[int], stride: Sequence[int]
) -> str:
    """The mean of every window of a value that has no borders left to add."""
    total = ""
    for tap in _taps(emit, value, kernel, out, stride, [1] * len(kernel)):
        total = emit.op("Add", total, tap) if total else tap
    return emit.op("Div", total, emit.number(prod(kernel)))


def softplus(emit: Emitter, value: str) -> str:
    """log(1 + exp(x)); in float64 as max(x, 0) + log(1 + exp(-|x|))."""
    if not emit.is_double:
        return emit.op("Softplus", value)
    small = emit.op("Exp", emit.op("Neg", emit.op("Abs", value)))
    knee = emit.op("Log", emit.op("Add", small, emit.number(1)))
    return emit.op("Add", emit.op("Max", value, emit.number(0)), knee)


def require_float32(emit: Emitter, node: Node, op: str) -> None:
    """ExportError for a layer that only float32 has an op for."""
    if emit.is_double:
        raise ExportError(
            f"layer '{node.name}' ({node.op}): ONNX Runtime has no {op} in float64",
            hint="write it with --precision float32",
        )


def _padded(emit: Emitter, value: str, padding: Sequence[int], axes: int) -> str:
    if not any(padding):
        return value
    return emit.op("Pad", value, emit.whole(0, 0, *padding[:axes], 0, 0, *padding[axes:]))


def _taps(
    emit: Emitter, value: str, kernel: Sequence[int], out: Sequence[int],
    stride: Sequence[int], dilation: Sequence[int],
) -> list[str]:  # fmt: skip
    """What every tap of a kernel sees, (N, C, *out), the last axis changing fastest."""
    axes, found = len(kernel), []
    for place in product(*(range(size) for size in kernel)):
        starts = [k * d for k, d in zip(place, dilation, strict=True)]
        ends = [
            first + (size - 1) * step + 1
            for first, size, step in zip(starts, out, stride, strict=True)
        ]
        every = emit.whole(*range(2, 2 + axes))
        found.append(
            emit.op(
                "Slice", value, emit.whole(*starts), emit.whole(*ends), every, emit.whole(*stride)
            )
        )
    return found
