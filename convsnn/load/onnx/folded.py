"""Values whose file runs parts of every sample (windows, heads) together with the batch.

A file that reshapes (B, k, ...) to (B * k, ...) has the parts of a sample side by side on axis 0.
Ops that look at no other part work on (k, ...) of each sample just as well, their axes counted
from the end; afterwards the value is folded again, until a Reshape brings the batch axis back.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from convsnn.load.onnx.base import Net
from convsnn.load.onnx.values import Constant, Data, Ints, Lost, Value, as_ints

_PLAIN = frozenset((
    *("Add", "Sub", "Mul", "Div", "MatMul", "Gemm", "Relu", "Gelu", "Sigmoid", "Tanh", "Erf"),
    *("Sqrt", "Pow", "Exp", "HardSwish", "HardSigmoid", "Reciprocal", "Clip", "Neg", "Where"),
    *("IsNaN", "Swish"),
))  # fmt: skip
# ops with an axis, and what it is where none is named
_ALONG = {"Softmax": -1, "LayerNormalization": -1, "RMSNormalization": -1, "Split": 0,
          "Concat": None, "Gather": 0}  # fmt: skip
_AXES_INPUT = {"ReduceMean": 1, "ReduceSum": 1, "ReduceL2": 1, "ReduceMax": 1, "ReduceMin": 1,
               "Slice": 3}  # fmt: skip
_OVER = _AXES_INPUT.keys()
# what takes the axis behind the batch for channels, and works on each of them or on groups
CHANNELLED = frozenset((
    *("Conv", "ConvTranspose", "BatchNormalization", "MaxPool", "AveragePool"),
    "GlobalAveragePool",
))  # fmt: skip
FOLDABLE = _PLAIN | _ALONG.keys() | _OVER | CHANNELLED | {"Transpose", "Pad", "Expand"}


def parts(net: Net, x: Data) -> int:
    """How many parts of a sample axis 0 of the file holds; 0 where that is not how it is."""
    if x.dims is None or x.order is not None or not x.dims or x.dims[0] % net.batch:
        return 0
    count = x.dims[0] // net.batch
    return count if count > 1 else 0


def unfolded(net: Net, x: Data) -> Data:
    """`x` with the parts as the first axis of each sample."""
    assert x.dims is not None  # by `parts`
    plain = replace(x, dims=None, mixed=None)
    return net.reshape(plain, (net.batch, parts(net, x), *x.dims[1:]), part="parts")


def folded(net: Net, x: Data) -> Data:
    """The reverse of `unfolded`."""
    return net.reshape(x, (net.batch * x.shape[0], *x.shape[1:]))


def arranged(
    net: Net, op: str, inputs: Sequence[Value], attributes: Mapping[str, Any], rank: int
) -> tuple[list[Value], dict[str, Any]] | None:
    """Inputs and attributes of `op` as they are where the parts stand behind the batch; None where
    it mixes them. `rank` is that of its first data input in the file."""
    given, changed = list(inputs), dict(attributes)
    if op == "Transpose":
        perm = list(attributes.get("perm", ()))
        if len(perm) != rank or perm[0] != 0:
            return None
        changed["perm"] = [0, *(p + 1 for p in perm)]
    elif op == "Pad":
        return _padded(net, given, changed, rank)
    elif op == "Expand":
        target = _expanded(net, given, rank)
        if target is None:
            return None
        given[1] = target
    elif op in _ALONG:
        axis = _from_end(attributes.get("axis", _ALONG[op]), rank)
        if axis is None:
            return None
        changed["axis"] = axis
    elif op in _OVER:
        place = _AXES_INPUT[op]
        held = given[place] if len(given) > place else None
        named: Ints = attributes.get("axes") if isinstance(held, Lost | None) else held
        axes = as_ints(named, "list of axes")
        counted = [_from_end(a, rank) for a in axes or []]
        if not counted or None in counted:
            return None
        known = [a for a in counted if a is not None]
        if held is not None:
            given[place] = net.made(np.array(known, dtype=np.int64), "axes")
        else:
            changed["axes"] = known
    return given, changed


def _padded(
    net: Net, inputs: list[Value], attributes: dict[str, Any], rank: int
) -> tuple[list[Value], dict[str, Any]] | None:
    """The arguments of Pad with nothing put around the parts of a sample."""
    held = inputs[1] if len(inputs) > 1 else attributes.get("pads")
    pads = as_ints(None if isinstance(held, Lost) else held, "padding") or []
    axes = inputs[3] if len(inputs) > 3 else None
    if axes is not None or len(pads) != 2 * rank or pads[0] or pads[rank]:
        return None
    wide = [0, *pads[:rank], 0, *pads[rank:]]
    if len(inputs) > 1:
        inputs[1] = net.made(np.array(wide, dtype=np.int64), "pads")
    else:
        attributes["pads"] = wide
    return inputs, attributes


def _expanded(net: Net, inputs: Sequence[Value], rank: int) -> Constant | None:
    """The target shape of Expand that repeats nothing but axes of the parts of a sample."""
    x, held = inputs[0], inputs[1]
    assert isinstance(x, Data)  # by the caller
    target = [] if isinstance(held, Lost) else as_ints(held, "target shape") or []
    if len(target) > rank or (len(target) == rank and target[0] not in (1, *(x.dims or ())[:1])):
        return None
    behind = target[1:] if len(target) == rank else target
    wide = [1] * (rank + 1 - len(behind)) + behind
    return net.made(np.array(wide, dtype=np.int64), "target")


def merged(
    net: Net, op: Callable[..., Any], inputs: Sequence[Value], attributes: Mapping[str, Any]
) -> Data:
    """`op` on (k, C, ...) of every sample as on k * C channels, its weights k times over."""
    x, *constants = inputs
    assert isinstance(x, Data)  # by the caller
    count, channels, *places = x.shape
    flat = net.reshape(x, (net.batch, count * channels, *places), part="windows")
    given = [_times(net, value, count) for value in constants]
    changed = dict(attributes)
    if len(given) in (1, 2):  # a convolution
        changed["group"] = attributes.get("group", 1) * count
    made = op(net, flat, *given, **changed)
    inside = (made.shape[0] // count, *made.shape[1:])
    opened: Data = net.reshape(made, (net.batch, count, *inside), part="opened")
    return opened


def _times(net: Net, value: Value, count: int) -> Value:
    if not isinstance(value, Constant):
        return value
    net.check_size((count, *value.array.shape))
    wide = np.tile(value.array, (count, *[1] * (value.array.ndim - 1)))
    return Constant(f"{value.name}.windows", wide)


def _from_end(axis: int | None, rank: int) -> int | None:
    """`axis` counted from the end, where nothing moves; None for axis 0."""
    if axis is None or axis % rank == 0:
        return None
    return axis % rank - rank


def second(net: Net, x: Data, perm: Sequence[int]) -> Data | None:
    """A transpose that puts batch and parts, which run together, second: (first, B * k, ...)."""
    if len(perm) < 2 or perm[1] != 0 or not parts(net, x):
        return None
    plain = unfolded(net, x)
    own = [0, perm[0] + 1, 1, *(p + 1 for p in perm[2:])]
    made = net.permute(plain, own)
    return beside(net, made)


def beside(net: Net, x: Data) -> Data:
    """`x`, (first, k, ...) of each sample, as the file has it: (first, B * k, ...)."""
    first, count, *rest = x.shape
    error = net.mixed("the axis before it comes first")
    dims = (first, net.batch * count, *rest)
    return replace(x, dims=dims, mixed=error, order=tuple(range(len(dims))), windows=True)


def picked(net: Net, x: Data, indices: Sequence[int], *, drop: bool) -> Data:
    """Elements of the first axis of a value that `beside` made; without that axis on `drop`."""
    plain = replace(x, dims=None, mixed=None, order=None, windows=False)
    made = net.take(plain, 1, indices, name=f"{net.label}.picked" if drop else "")
    if not drop:
        return beside(net, made)
    return dropped(net, beside(net, made))


def dropped(net: Net, x: Data) -> Data:
    """A value that `beside` made without its first axis, of size 1."""
    plain = replace(x, dims=None, mixed=None, order=None, windows=False)
    made = net.reshape(plain, (net.batch, *plain.shape[1:]))
    return folded(net, made)
