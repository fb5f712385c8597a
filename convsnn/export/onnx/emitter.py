"""Collects the nodes and constants of an ONNX graph, under unique names."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from convsnn.errors import ExportError

_KINDS = {torch.float32: TensorProto.FLOAT, torch.float64: TensorProto.DOUBLE}


def onnx_kind(dtype: torch.dtype) -> int:
    """The element type of ONNX; ExportError for one that runtimes do not run everywhere."""
    if dtype not in _KINDS:
        raise ExportError(
            f"the network's tensors are {dtype}; ONNX graphs are written in float32 or float64",
            hint="use net.to(torch.float32)",
        )
    return _KINDS[dtype]


@dataclass
class Emitter:
    """The graph so far, in the float type `dtype`; of an inner graph (a loop's body) the constants
    and names are those of the outer one, which it sees. `public` are names that nothing takes by
    the way: those that a user types."""

    dtype: torch.dtype
    public: frozenset[str] = frozenset()
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)
    _numbers: dict[float, str] = field(default_factory=dict)

    @property
    def is_double(self) -> bool:
        """Whether the graph computes in float64, which few ops of ONNX Runtime do."""
        return self.dtype is torch.float64

    def inner(self) -> "Emitter":
        """A graph inside this one."""
        return Emitter(self.dtype, self.public, [], self.constants, self._taken, self._numbers)

    def unique(self, wanted: str) -> str:
        """`wanted`, or `wanted_1`, `wanted_2`, ... where it is taken; taken from now on."""
        name, count = wanted, 0
        while name in self._taken or name in self.public:
            count += 1
            name = f"{wanted}_{count}"
        self._taken.add(name)
        return name

    def op(self, kind: str, *inputs: str, name: str = "", **attrs: Any) -> str:
        """Append a node; returns its only output, called `name` where that is free."""
        output = self.unique(name or kind.lower())
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attrs))
        return output

    def publish(self, value: str, name: str) -> None:
        """Let `name`, exactly, stand for a value."""
        self.nodes.append(helper.make_node("Identity", [value], [name], name=name))

    def constant(self, value: Tensor, name: str) -> str:
        """A constant tensor in the graph's float type."""
        held = value.detach().to("cpu", self.dtype).contiguous().numpy()
        return self._enter(held, self.unique(name))

    def shared(self, value: Tensor, name: str) -> str:
        """A constant that is entered once: under one `name` it has one value."""
        return name if name in self.constants else self.constant(value, name)

    def whole(self, *values: int) -> str:
        """A list of whole numbers, int64 (n,): a node, for shape inference looks for sizes inside
        a loop's body only."""
        return self.op("Constant", name="sizes", value_ints=list(values))

    def number(self, value: float) -> str:
        """A scalar in the graph's float type; equal ones are kept once."""
        if value not in self._numbers:
            held = torch.tensor(value, dtype=self.dtype).numpy()
            self._numbers[value] = self._enter(held, self.unique("number"))
        return self._numbers[value]

    def cast(self, value: str) -> str:
        """A value in the graph's float type."""
        return self.op("Cast", value, to=onnx_kind(self.dtype))

    def batch(self, value: str) -> str:
        """The size of axis 0, int64 (1,)."""
        return self.op("Slice", self.op("Shape", value), self.whole(0), self.whole(1))

    def graph(
        self,
        name: str,
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Sequence[onnx.ValueInfoProto],
        *,
        own: bool = True,
    ) -> onnx.GraphProto:
        """The finished graph; without `own` its constants are left to the outer one."""
        held = list(self.constants.values()) if own else []
        return helper.make_graph(self.nodes, name, list(inputs), list(outputs), held)

    def _enter(self, value: Any, name: str) -> str:
        self.constants[name] = numpy_helper.from_array(value, name)
        return name
