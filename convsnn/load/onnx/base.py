"""What the ONNX op families share: values, the registry of ops, and the network being read.

An op is a function `(net, *inputs, **attributes)` whose keywords are the ONNX attributes with
ONNX's defaults. Where a newer opset made an attribute an input, one name serves both. It returns
the op's outputs; Data for what depends on the network's input, Constant for what does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convsnn.errors import LoadError, out_of_memory
from convsnn.graph.ops import OPS
from convsnn.load.builder import RETRAIN, Builder, ranges
from convsnn.load.onnx.budget import LARGEST, Budget
from convsnn.load.onnx.fitting import misfit
from convsnn.load.onnx.shown import shown
from convsnn.load.onnx.values import BatchMixed, Blocked, Constant, Data, Value
from convsnn.registry import Registry

HIDDEN = 1e9  # below every score by more than any exponential tells apart
WIDEST = 256  # slices that one value may be put together from


Result = Data | Constant | Sequence[Data | Constant]
ONNX_OPS: Registry[Result] = Registry("ONNX op")
REFUSED: dict[str, tuple[str, str]] = {}  # reason and remedy of what is always refused


def refuse(*names: str, reason: str, remedy: str = RETRAIN) -> None:
    """Register ONNX ops that are always refused, with a reason of their own."""

    def refusal(net: "Net", *inputs: Value, **attributes: Any) -> Result:
        del net, inputs, attributes
        raise Blocked(reason, remedy)

    for name in names:
        REFUSED[name] = (reason, remedy)
        ONNX_OPS.register(name)(refusal)


def hidden(added: NDArray[Any]) -> NDArray[Any]:
    """What is added to scores, with numbers in the place of minus infinity that hide as well.

    Blocked where a whole row is hidden: the original gives no numbers there.
    """
    if added.dtype.kind != "f" or not np.isneginf(added).any():
        return added
    if added.ndim and np.isneginf(added).all(-1).any():
        raise Blocked("its mask hides everything, and the original's answer is no number")
    return np.maximum(added, added.dtype.type(-HIDDEN))


def _wrong(constant: Constant) -> str:
    """Why the numbers of a constant cannot be used."""
    if np.isnan(constant.array.astype(np.float64)).any():
        return "numbers that are not a number (NaN)"
    if np.isinf(constant.array.astype(np.float64)).any():
        return "infinite numbers"
    return "numbers too large for float32"


@dataclass
class Net:
    """The network as read so far. `label`, `op` and `outputs` are those of the node being read.

    `batch` is the size of the batch axis in the file: the size the file fixes, or a prime that
    stands for a free one and is recognised wherever it turns up again.
    """

    builder: Builder
    opset: int
    batch: int
    budget: Budget = field(default_factory=Budget)
    values: dict[str, Value] = field(default_factory=dict)
    label: str = ""
    op: str = ""
    outputs: tuple[str, ...] = ()
    _stored: dict[tuple[str, int], tuple[str, NDArray[Any]]] = field(default_factory=dict)

    def emit(
        self, op: str, *inputs: Data | Constant, part: str = "", name: str = "", **attrs: Any
    ) -> Data:
        """Append a node named after the ONNX node (`label.part` for a helper step).

        Raises LoadError where the shapes do not fit, BatchMixed where the batch axis is lost.
        """
        shapes = [self._meta_shape(v) for v in inputs]
        if wrong := misfit(op, shapes, attrs):
            raise self.error(wrong)
        meta = [torch.empty(shape, device="meta") for shape in shapes]
        try:
            out: Tensor = OPS[op].run(*meta, **attrs)
        except (RuntimeError, TypeError, IndexError, ValueError) as error:
            if out_of_memory(error):
                raise
            raise LoadError(f"node '{self.label}' ({self.op}) does not fit: {error}") from None
        if out.shape[:1] != (2,):
            raise self.mixed("its result has another batch size")
        self.check_size(out.shape[1:])
        names = [v.name if isinstance(v, Data) else self._store(v) for v in inputs]
        self.builder.layer = name or (f"{self.label}.{part}" if part else self.label)
        return Data(self.builder.emit(op, *names, **attrs), tuple(out.shape[1:]))

    def piece(
        self,
        op: str,
        *inputs: Data | Constant,
        part: str = "",
        detail: str = "",
        remedy: str = RETRAIN,
        **attrs: Any,
    ) -> Data:
        """Append a piece of an activation, which blocks unless a pass finds the whole."""
        said = self.builder.blocking(op, kind=self.op, detail=detail, remedy=remedy)
        return self.emit(op, *inputs, part=part, **attrs, **said)

    def check_size(self, shape: Sequence[int]) -> None:
        """LoadError for a value that no machine holds, in the batch that the file fixes."""
        if prod(shape) > LARGEST or prod(shape) * self.batch > LARGEST * 64:
            raise self.error(f"makes a value of shape {tuple(shape)}, which is too large")

    def _meta_shape(self, value: Data | Constant) -> tuple[int, ...]:
        return (2, *value.shape) if isinstance(value, Data) else value.array.shape

    def _store(self, constant: Constant) -> str:
        key = (constant.name, id(constant.array))
        if key not in self._stored:
            array = np.array(constant.array, dtype=np.float32, order="C")
            if not np.isfinite(array).all():
                raise self.error(f"reads '{shown(constant.name)}', which holds {_wrong(constant)}")
            name = self.builder.constant(torch.from_numpy(array), constant.name, copy=False)
            self._stored[key] = (name, constant.array)  # keeps the array, and so its id, alive
        return self._stored[key][0]

    def made(self, array: NDArray[Any], role: str) -> Constant:
        """A constant that the file does not name, such as the factor of a negation."""
        return Constant(f"{self.label}.{role}", array)

    def error(self, text: str) -> LoadError:
        """An error that names the node being read."""
        return LoadError(f"node '{self.label}' ({self.op}) {text}")

    def mixed(self, detail: str) -> BatchMixed:
        """The error of a node after which axis 0 is no longer the batch."""
        return BatchMixed(
            f"node '{self.label}' ({self.op}) moves, drops or mixes the batch axis: {detail}",
            hint="keep the batch on the first axis of every value; a torch module can also be read "
            "directly, without ONNX",
        )

    def file_shape(self, x: Data) -> tuple[int, ...]:
        """Shape that the file gives to `x`, batch included."""
        return (self.batch, *x.shape) if x.dims is None else x.dims

    def axis(self, axis: int, rank: int) -> int:
        """`axis` counted from the front; LoadError where there is no such axis."""
        if not -rank <= axis < rank:
            raise self.error(f"has axis {axis}, but its input has {rank} axes")
        return axis % rank

    def sample_axis(self, axis: int, x: Data) -> int:
        """`axis` of `x` counted from the front; BatchMixed where it is the batch."""
        axis = self.axis(axis, len(x.shape) + 1)
        if axis == 0:
            raise self.mixed("it works along axis 0")
        return axis

    def reshape(self, x: Data, target: Sequence[int], *, part: str = "") -> Data:
        """`x` brought to the file's shape `target`; `mixed` is set unless axis 0 is the batch."""
        before, after = self.file_shape(x), tuple(target)
        if prod(before) != prod(after):
            raise self.error(f"cannot bring shape {self.named(before)} to {self.named(after)}")
        if after[:1] != (self.batch,) or prod(after[1:]) != prod(x.shape):
            error = self.mixed(f"{self.named(before)} becomes {self.named(after)}")
            return replace(x, dims=after, mixed=x.mixed or error)
        if after[1:] == x.shape:
            return replace(x, dims=None, mixed=None)
        shaped = self.emit("reshape", x, part=part, shape=list(after[1:]))
        return replace(shaped, integer=x.integer)

    def named(self, shape: Sequence[int]) -> str:
        """A shape of the file as the user knows it."""
        first = "batch" if shape and shape[0] == self.batch else None
        return f"({', '.join([first or str(shape[0]), *map(str, shape[1:])]) if shape else ''})"

    def permute(self, x: Data, dims: Sequence[int], *, part: str = "") -> Data:
        """`x` with its axes in the order `dims`; nothing where they stay."""
        if list(dims) == list(range(len(x.shape) + 1)):
            return x
        return self.emit("permute", x, part=part, dims=list(dims))

    def moved(self, x: Data, order: Sequence[int]) -> Data:
        """`x`, batch first, where the file has its axes in another order, the batch not first."""
        if order[0] == 0:
            return self.permute(x, order)
        dims = tuple((self.batch, *x.shape)[axis] for axis in order)
        error = x.mixed or self.mixed(f"axis {order[0]} becomes axis 0")
        return replace(x, dims=dims, mixed=error, order=tuple(order))

    def settled(self, x: Data) -> Data:
        """`x` with its batch first where that can be: a batch of one and another axis of size 1
        trade places without moving a value."""
        if x.order is None or x.dims is None or self.batch != 1 or x.dims[0] != 1:
            return x
        plain = replace(x, dims=None, mixed=None, order=None)
        moved = self.permute(plain, [0, *[i for i in x.order if i != 0]], part="moved")
        return self.reshape(moved, x.dims)

    def broadcast(self, x: Data, constant: Constant) -> tuple[Data, Constant]:
        """Bring data and a constant to one rank; the constant then has 1 on the batch axis."""
        array = constant.array
        rank = max(len(x.shape) + 1, array.ndim)
        x = self.raised(x, rank)
        array = array.reshape((1,) * (rank - array.ndim) + array.shape)
        if array.shape[0] not in (1, self.batch) or np.any(array[1:] != array[:1]):
            raise self.mixed("its constant differs along axis 0")
        array = array[:1]
        return x, constant if array.shape == constant.array.shape else Constant(
            constant.name, array
        )

    def raised(self, x: Data, rank: int) -> Data:
        """`x` with axes of size 1 put before it, as broadcasting does."""
        extra = rank - len(x.shape) - 1
        if extra and self.batch != 1:
            raise self.mixed(f"{self.named(self.file_shape(x))} meets a value of {rank} axes")
        return self.reshape(x, (1,) * extra + self.file_shape(x), part="raised") if extra else x

    def take(self, x: Data, axis: int, indices: Sequence[int], *, name: str = "") -> Data:
        """Elements `indices` of `axis`, in that order: one slice for each run of equal steps."""
        runs = ranges(indices)
        if runs == [range(x.shape[axis - 1])]:
            return x
        if len(runs) > WIDEST:
            raise Blocked(f"it picks {len(indices)} elements in no regular order")
        parts = [
            self.emit(
                "slice",
                x,
                part="" if len(runs) == 1 else "part",
                name=name if len(runs) == 1 else "",
                dim=axis,
                start=run.start,
                stop=run.stop,
                step=run.step,
            )
            for run in runs
        ]
        return parts[0] if len(parts) == 1 else self.emit("concat", *parts, name=name, dim=axis)
