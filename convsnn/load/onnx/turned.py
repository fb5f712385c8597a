"""Values whose file has the batch behind another axis, as torch's attention puts tokens first.

What looks at the last axis only, or at every element alike, works on the value batch first just as
well; the file's order of axes is carried along until a Transpose brings the batch back. Where the
file runs the axes before the last together, (tokens * batch, channels), `order` is longer than
`dims`: a product with a matrix passes through, and a Reshape takes them apart again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from convsnn.load.onnx import folded
from convsnn.load.onnx.base import ONNX_OPS, Net
from convsnn.load.onnx.values import Constant, Data, Lost, Value, as_ints

_ALIKE = frozenset((
    *("Add", "Sub", "Mul", "Div", "Relu", "Gelu", "Sigmoid", "Tanh", "Erf", "HardSwish", "Neg"),
    *("Swish", "Sqrt", "Reciprocal", "Exp"),
))  # fmt: skip


def applied(
    net: Net, op: str, inputs: Sequence[Value], attributes: Mapping[str, Any]
) -> Data | None:
    """The result of `op` where a data input has its batch behind another axis and that does not
    matter; None where it does, or no input has."""
    data = [value for value in inputs if isinstance(value, Data)]
    if not data or data[0].order is None or any(v.order != data[0].order for v in data):
        return None
    x = data[0]
    if x.windows:
        return _windows_first(net, x, attributes) if op == "Transpose" else None
    if op == "Reshape":
        return _reshaped(net, x, _ints(inputs[1], "target shape"), attributes)
    if op == "Unsqueeze" and _plain_rank(x):
        given = inputs[1] if len(inputs) > 1 else attributes.get("axes")
        return _unsqueezed(net, x, _ints(given, "list of axes"))
    if op in ("MatMul", "Gemm"):
        return _product(net, op, inputs, attributes)
    if op in _ALIKE and _plain_rank(x):
        return _alike(net, op, inputs, attributes)
    return None


def since(inputs: Sequence[Value], made: Sequence[Data | Constant]) -> list[Data | Constant]:
    """What a node made, where its batch stays away with the error of the node that moved it."""
    known = (value.mixed for value in inputs if isinstance(value, Data))
    first = next((error for error in known if error is not None), None)
    return [
        replace(value, mixed=first) if isinstance(value, Data) and value.mixed and first else value
        for value in made
    ]


def _ints(value: Any, what: str) -> list[int]:
    return [] if isinstance(value, Lost) else as_ints(value, what) or []


def _plain_rank(x: Data) -> bool:
    return x.dims is not None and x.order is not None and len(x.dims) == len(x.order)


def _upright(x: Data) -> Data:
    return replace(x, dims=None, mixed=None, order=None)


def _as_before(x: Data, made: Data) -> Data:
    """`made`, of the rank of `x` and with another last axis, in the file's order of `x`."""
    assert x.dims is not None  # by the caller
    return replace(
        made, dims=(*x.dims[:-1], made.shape[-1]), mixed=x.mixed, order=x.order, windows=False
    )


def _product(
    net: Net, op: str, inputs: Sequence[Value], attributes: Mapping[str, Any]
) -> Data | None:
    """x @ constant, which only looks at the last axis."""
    x, factor = inputs[0], inputs[1]
    if not isinstance(x, Data) or not isinstance(factor, Constant) or factor.array.ndim != 2:
        return None
    if x.order is None or x.order[-1] != len(x.order) - 1 or attributes.get("transA"):
        return None
    own = _upright(x)
    if op == "MatMul":
        made = ONNX_OPS.get("MatMul")(net, own, factor)
    else:
        matrix = factor.array.T if attributes.get("transB") else factor.array
        alpha = float(attributes.get("alpha", 1.0))
        made = ONNX_OPS.get("MatMul")(net, own, Constant(factor.name, matrix * np.float32(alpha)))
    assert isinstance(made, Data)  # of data and a constant
    bias = inputs[2] if len(inputs) > 2 else None
    if bias is not None:
        if not isinstance(bias, Constant) or bias.array.ndim > 1:
            return None
        beta = np.float32(attributes.get("beta", 1.0))
        added = ONNX_OPS.get("Add")(net, made, Constant(bias.name, bias.array * beta))
        assert isinstance(added, Data)  # as above
        made = added
    return _as_before(x, made)


def _alike(
    net: Net, op: str, inputs: Sequence[Value], attributes: Mapping[str, Any]
) -> Data | None:
    """An op that treats every element alike; constants turn with the data."""
    x = next(value for value in inputs if isinstance(value, Data))
    assert x.order is not None  # by the caller
    rank, own = len(x.order), list[Value]()
    for value in inputs:
        if isinstance(value, Data):
            own.append(_upright(value))
        elif isinstance(value, Constant):
            if value.array.ndim > rank:
                return None
            wide = value.array.reshape((1,) * (rank - value.array.ndim) + value.array.shape)
            turned = wide.transpose([x.order.index(axis) for axis in range(rank)])
            own.append(Constant(f"{value.name}.turned", turned))
        else:
            return None
    made = ONNX_OPS.get(op)(net, *own, **attributes)
    if not isinstance(made, Data) or len(made.shape) + 1 != rank:
        return None
    return net.moved(made, x.order)


def _reshaped(net: Net, x: Data, target: list[int], attributes: Mapping[str, Any]) -> Data | None:
    """Axes behind the batch split or joined, or the batch run together with what is beside it."""
    dims, order = x.dims, x.order
    assert dims is not None  # by the caller
    assert order is not None
    if not attributes.get("allowzero"):
        target = [dims[i] if n == 0 and i < len(dims) else n for i, n in enumerate(target)]
    if target.count(-1) == 1 and prod(dims) % -prod(target) == 0:
        target[target.index(-1)] = prod(dims) // -prod(target)
    place = order.index(0)
    own = net.permute(_upright(x), [0, *(axis for axis in order if axis)], part="ordered")
    front, last = list(own.shape[:place]), prod(own.shape[place:])
    kept = (*range(1, place + 1), 0)  # the file's first axes; behind them nothing is turned
    if prod(target) != prod(dims):
        return None
    if target[: place + 1] == [*front, net.batch]:
        made = net.reshape(own, (net.batch, *front, *target[place + 1 :]))
        return net.moved(made, [*kept, *range(place + 1, 1 + len(made.shape))])
    if target == [prod(front) * net.batch, last]:  # (tokens * batch, channels)
        made = net.reshape(own, (net.batch, *front, last))
        error = x.mixed or net.mixed("it is run together with another axis")
        return replace(made, dims=tuple(target), mixed=error, order=(*kept, place + 1))
    return _heads_beside(net, own, target) if place == 1 else None


def _heads_beside(net: Net, x: Data, target: Sequence[int]) -> Data | None:
    """(tokens, batch, heads * channels) as (tokens, batch * heads, channels)."""
    if len(target) < 2 or target[0] != x.shape[0]:
        return None
    heads, odd = divmod(target[1], net.batch)
    if odd or heads < 2 or heads * prod(target[2:]) != prod(x.shape[1:]):
        return None
    made = net.reshape(x, (net.batch, x.shape[0], heads, *target[2:]))
    return folded.beside(net, made)


def _unsqueezed(net: Net, x: Data, axes: Sequence[int]) -> Data | None:
    """With one more axis of size 1, wherever the file puts it."""
    assert x.order is not None  # by the caller
    if len(axes) != 1:
        return None
    place = net.axis(axes[0], len(x.order) + 1)
    made = net.reshape(_upright(x), (net.batch, 1, *x.shape))
    order = [axis + 1 if axis else 0 for axis in x.order]
    return net.moved(made, [*order[:place], 1, *order[place:]])


def _windows_first(net: Net, x: Data, attributes: Mapping[str, Any]) -> Data | None:
    """(first, batch * k, ...) with the axis of the batch put first."""
    perm = list(attributes.get("perm", ()))
    if len(perm) != len(x.shape) or perm[0] != 1:
        return None
    own = {0: 1, **{axis: axis + 1 for axis in range(2, len(perm))}}
    plain = replace(x, dims=None, mixed=None, order=None, windows=False)
    made = net.permute(plain, [0, 2, *(own[axis] for axis in perm[1:])])
    return replace(folded.folded(net, made), mixed=x.mixed)
