"""Every registered ONNX op against ONNX Runtime, in files with a free and with a fixed batch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from convsnn.errors import UnsupportedError
from convsnn.graph import run
from convsnn.load.onnx import ONNX_OPS, load_onnx, onnx_reference
from convsnn.load.onnx.base import REFUSED
from convsnn.load.onnx.evaluate import RANDOM

INF = float("inf")


def rand(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


# pairs of rows, and columns 0, 2 and 5, as torch's exporter writes the windows of pooling
WINDOWS = np.stack(
    np.broadcast_arrays(
        np.array([[0, 1], [2, 3], [4, 5]])[:, :, None, None], np.array([[0], [2], [5]])
    ),
    axis=-1,
).astype(np.int64)


@dataclass(frozen=True)
class Case:
    """One node `op(x, *constants)`, or `nodes` ending in `y`."""

    op: str
    shape: tuple[int, ...] = (3, 6, 6)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    attrs: dict[str, Any] = field(default_factory=dict)
    opset: int = 17
    inputs: tuple[str, ...] | None = None
    outputs: tuple[str, ...] = ("y",)
    nodes: tuple[onnx.NodeProto, ...] = ()
    fixed_only: bool = False

    def __str__(self) -> str:
        attrs = ",".join(f"{k}={v}" for k, v in self.attrs.items())
        return f"{self.op}-{self.opset}-{attrs}".replace(" ", "")


def node(op: str, inputs: str, outputs: str, **attrs: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), outputs.split(), name=f"n_{outputs}", **attrs)


def write(path: Path, case: Case, batch: int | str) -> Path:
    inputs = case.inputs if case.inputs is not None else ("x", *case.constants)
    nodes = case.nodes or (
        helper.make_node(case.op, inputs, case.outputs, name="node", **case.attrs),
    )
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *case.shape])],
        [onnx.ValueInfoProto(name=name) for name in case.outputs],
        [numpy_helper.from_array(array, name) for name, array in case.constants.items()],
    )
    for output in graph.output:
        output.type.tensor_type.elem_type = TensorProto.FLOAT
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", case.opset)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


W = {"w": rand(4, 3, 3, 3), "b": rand(4, seed=1)}
W1 = {"w": rand(4, 3, 3)}
WT = {"w": rand(3, 4, 3, 3), "b": rand(4, seed=1)}
BN = {"s": rand(3), "b": rand(3, seed=1), "m": rand(3, seed=2), "v": rand(3, seed=3) ** 2 + 0.1}
K2 = {"kernel_shape": [2, 2], "strides": [2, 2]}
K3 = {"kernel_shape": [3, 3], "strides": [2, 2]}
C = {"c": rand(3, 1, 1)}
C1 = np.ones(1, np.float32)
ZERO = np.float32(0)

CASES = [
    Case("Conv", constants=W),
    Case("Conv", constants=W, opset=7, attrs={"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    Case("Conv", constants=W, attrs={"pads": [0, 1, 2, 1]}),
    Case("Conv", constants=W, attrs={"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    Case("Conv", constants=W, attrs={"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    Case("Conv", constants=W, attrs={"auto_pad": "VALID", "dilations": [2, 2]}),
    Case("Conv", (3, 9), W1, {"pads": [1, 2]}),
    Case("Conv", (4, 6, 6), {"w": rand(4, 2, 3, 3)}, {"group": 2}),
    Case("Conv", (3, 5, 5, 5), {"w": rand(2, 3, 3, 3, 3)}, {"strides": [1, 2, 1]}),
    Case("ConvTranspose", constants=WT),
    Case("ConvTranspose", constants=WT, attrs={"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    Case("ConvTranspose", constants=WT, attrs={"strides": [2, 2], "pads": [0, 1, 1, 0]}),
    Case("ConvTranspose", constants=WT, attrs={"strides": [2, 2], "output_padding": [1, 1]}),
    Case("ConvTranspose", constants=WT, attrs={"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    Case("ConvTranspose", constants=WT, attrs={"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    Case("ConvTranspose", constants=WT, attrs={"strides": [2, 2], "output_shape": [12, 12]}),
    Case("ConvTranspose", (4, 5), {"w": rand(4, 1, 3)}, {"group": 4, "dilations": [2]}),
    Case("Gemm", (5,), {"w": rand(5, 4), "b": rand(4, seed=1)}),
    Case("Gemm", (5,), {"w": rand(5, 4)}, opset=11),
    Case("Gemm", (5,), {"w": rand(4, 5), "b": rand(1, 4)}, {"transB": 1, "alpha": 0.5}),
    Case("Gemm", (5,), {"w": rand(4, 5), "b": rand(1)}, {"transB": 1, "beta": 2.0}),
    Case("Gemm", (4,), {"w": rand(4, 4)}, {"beta": 3.0}, inputs=("x", "w", "x")),
    Case("MatMul", (5,), {"w": rand(5, 4)}),
    Case("MatMul", (2, 3, 5), {"w": rand(5, 4)}),
    Case("MatMul", (2, 3, 5), {"w": rand(1, 5, 4)}),
    Case("MatMul", (2, 5), {"w": rand(5)}),
    Case("MatMul", (2, 3, 5), {"w": rand(4, 3)}, inputs=("w", "x")),
    Case("MatMul", (3, 5), {"w": rand(3)}, inputs=("w", "x")),
    Case("BatchNormalization", constants=BN),
    Case("BatchNormalization", (3,), BN, {"epsilon": 0.1}, opset=9),
    Case("Relu"),
    Case("Clip", opset=10, attrs={"min": 0.0, "max": 0.7}),
    Case("Clip", opset=7, attrs={"min": 0.0}),
    Case("Clip", opset=10),
    Case("Clip", constants={"lo": np.float32(0), "hi": np.float32(6)}),
    Case("Clip", constants={"lo": np.float32(0)}),
    Case("Clip", constants={"lo": np.float32(0), "hi": np.float32(INF)}),
    Case("Max", constants={"z": np.float32(0)}),
    Case("Max", constants={"z": np.zeros(1, np.float32)}, inputs=("z", "x")),
    Case("Max", constants={"z": np.zeros((1, 6, 6), np.float32)}),
    Case(
        "Max",
        nodes=(node("Mul", "x s", "b"), node("Max", "b x", "y")),
        constants={"s": np.float32(0.3)},
    ),
    Case("Max", constants={"z": np.float32(0.25)}),
    Case("Clip", constants={"lo": np.float32(-1), "hi": np.float32(1)}),
    Case(
        "Min",
        nodes=(node("Relu", "x", "r"), node("Min", "r c", "y")),
        constants={"c": np.float32(0.5)},
    ),
    Case("Min", nodes=(node("Min", "c x", "m"), node("Relu", "m", "y")), constants={"c": C1}),
    Case("LeakyRelu"),
    Case("LeakyRelu", (5,), attrs={"alpha": 0.3}, opset=7),
    Case("LeakyRelu", attrs={"alpha": 0.0}),
    Case("PRelu", constants={"a": rand(3, 1, 1)}),
    Case("PRelu", constants={"a": rand(1)}, opset=9),
    Case("PRelu", constants={"a": rand(3, 6, 6)}, opset=7),
    Case("PRelu", constants={"a": np.zeros((3, 1, 1), np.float32)}),
    Case("ThresholdedRelu", attrs={"alpha": 0.0}),
    Case("Floor"),
    Case("Round"),
    *(
        Case(op, nodes=(node(op, inputs, "m"), node("Where", choice, "y")), constants={"z": ZERO})
        for op, inputs, choice in (
            ("Greater", "x z", "m x z"),
            ("GreaterOrEqual", "x z", "m x z"),
            ("Less", "x z", "m z x"),
            ("LessOrEqual", "x z", "m z x"),
            ("Less", "z x", "m x z"),
        )
    ),
    Case(
        "Where",
        nodes=(node("Greater", "x z", "m"), node("Mul", "x s", "n"), node("Where", "m x n", "y")),
        constants={"z": ZERO, "s": np.float32(0.3)},
    ),
    Case(
        "Greater",
        nodes=(node("Greater", "x z", "m"), node("Cast", "m", "f", to=1), node("Mul", "f x", "y")),
        constants={"z": ZERO},
    ),
    Case("Softmax"),
    Case("Softmax", attrs={"axis": 1}),
    Case("Softmax", opset=9),
    Case("Softmax", (2, 5), opset=9, attrs={"axis": 2}),
    Case("Softmax", (5,), opset=11, attrs={"axis": -1}),
    Case("Softmax", (5, 1, 1), opset=9),
    Case("LogSoftmax", (5,), opset=9),
    Case("LogSoftmax", (2, 5)),
    Case("Sigmoid"),
    Case("MaxPool", attrs=K2),
    Case("MaxPool", attrs={"kernel_shape": [2, 2]}),
    Case("MaxPool", (3, 7, 8), attrs={**K3, "ceil_mode": 1}),
    Case("MaxPool", (3, 6, 6), attrs={**K3, "pads": [1, 1, 1, 1], "ceil_mode": 1}),
    Case("MaxPool", (3, 7, 6), attrs={**K3, "pads": [0, 1, 1, 0]}),
    Case("MaxPool", (3, 8, 8), attrs={**K3, "pads": [0, 0, 1, 1], "ceil_mode": 1}),
    Case("MaxPool", (3, 7, 7), attrs={**K3, "auto_pad": "SAME_UPPER"}),
    Case("MaxPool", (3, 8, 8), attrs={**K3, "auto_pad": "SAME_LOWER"}),
    Case("MaxPool", (3, 8), attrs={"kernel_shape": [3], "dilations": [2], "strides": [2]}),
    Case("AveragePool", attrs=K2, opset=7),
    Case("AveragePool", (3, 7, 7), attrs={**K3, "pads": [1, 1, 1, 1]}),
    Case("AveragePool", (3, 7, 7), attrs={**K3, "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    Case("AveragePool", (3, 7, 6), attrs={**K3, "pads": [0, 1, 1, 0]}),
    Case("AveragePool", (3, 7, 6), attrs={**K3, "pads": [0, 1, 1, 0], "count_include_pad": 1}),
    Case("AveragePool", (3, 8, 8), attrs={**K3, "ceil_mode": 1}, opset=19),
    Case("AveragePool", (3, 8, 8), attrs={**K3, "ceil_mode": 1, "count_include_pad": 1}, opset=19),
    Case(
        "AveragePool",
        (3, 8, 8),
        attrs={**K3, "ceil_mode": 1, "pads": [1, 1, 1, 1], "count_include_pad": 1},
        opset=19,
    ),
    Case("AveragePool", (3, 8, 8), attrs={**K3, "ceil_mode": 1, "pads": [1, 1, 1, 1]}, opset=19),
    Case("AveragePool", (3, 7, 7), attrs={**K3, "auto_pad": "SAME_UPPER"}),
    Case("AveragePool", (3, 9), attrs={"kernel_shape": [3], "strides": [3]}),
    Case("GlobalAveragePool"),
    Case("GlobalAveragePool", (3, 7)),
    Case("GlobalMaxPool"),
    Case("ReduceMean", attrs={"axes": [2, 3]}),
    Case("ReduceMean", attrs={"axes": [-1], "keepdims": 0}),
    Case("ReduceMean", constants={"a": ints(2, 3)}, opset=18, attrs={"keepdims": 0}),
    Case("ReduceMean", opset=18, attrs={"noop_with_empty_axes": 1}),
    Case("ReduceMean", fixed_only=True),
    Case("ReduceSum", opset=11, attrs={"axes": [1, 3]}),
    Case("ReduceSum", constants={"a": ints(-1)}, attrs={"keepdims": 0}),
    Case("ReduceSum", attrs={"noop_with_empty_axes": 1}),
    Case("ReduceMax", attrs={"axes": [2, 3]}),
    Case("ReduceMax", constants={"a": ints(2, 3)}, opset=18, attrs={"keepdims": 0}),
    Case("Add", constants=C),
    Case("Add", constants=C, inputs=("c", "x")),
    Case("Add", inputs=("x", "x")),
    Case("Add", (3,), {"c": rand(1, 2, 3)}, fixed_only=True),
    Case("Sub", constants=C),
    Case("Sub", constants=C, inputs=("c", "x")),
    Case("Sub", inputs=("x", "x")),
    Case("Mul", constants=C),
    Case("Mul", constants={"c": np.float32(0.5)}, inputs=("c", "x")),
    Case("Div", constants=C),
    Case("Neg"),
    Case("Sum", constants=C, inputs=("c", "x", "x")),
    Case("Sum", inputs=("x",)),
    Case("Mean", inputs=("x", "x", "x")),
    Case("Concat", inputs=("x", "x"), attrs={"axis": 1}),
    Case("Concat", inputs=("x",), attrs={"axis": -1}),
    Case(
        "Concat",
        constants={"c": np.zeros((1, 2, 6, 6), np.float32)},
        attrs={"axis": 1},
        fixed_only=True,
    ),
    Case(
        "Concat",
        constants={"c": rand(1, 2, 6, 6)},
        inputs=("c", "x", "c", "x"),
        attrs={"axis": 1},
        fixed_only=True,
    ),
    Case("Split", (4, 6), attrs={"axis": 1}, outputs=("y", "z"), opset=12),
    Case("Split", (4, 6), attrs={"axis": 2, "split": [1, 5]}, outputs=("y", "z"), opset=12),
    Case("Split", (4, 6), {"s": ints(1, 3)}, {"axis": 1}, outputs=("y", "z")),
    Case("Split", (5, 6), attrs={"axis": 1, "num_outputs": 2}, outputs=("y", "z"), opset=18),
    Case("Slice", opset=9, attrs={"starts": [1, -3], "ends": [3, 100], "axes": [1, 3]}),
    Case("Slice", opset=9, attrs={"starts": [0, 1], "ends": [2**31 - 1, 2]}),
    Case("Slice", constants={"s": ints(1), "e": ints(6), "a": ints(-1), "t": ints(2)}),
    Case("Slice", constants={"s": ints(-1), "e": ints(-(2**62)), "a": ints(1), "t": ints(-1)}),
    Case("Slice", (3, 6, 6), {"s": ints(0, 2), "e": ints(9999, 3)}),
    Case("Gather", constants={"i": ints(2, 1, 0)}, attrs={"axis": 1}),
    Case("Gather", constants={"i": ints(0, 2, 4, 5, -1)}, attrs={"axis": -1}),
    Case("Gather", constants={"i": np.int64(1)}, attrs={"axis": 1}),
    Case("Gather", constants={"i": np.array([[0, 1], [2, 0]])}, attrs={"axis": 1}),
    Case("Tile", constants={"r": ints(1, 2, 1, 3)}),
    Case("Pad", opset=10, attrs={"pads": [0, 0, 1, 2, 0, 1, 0, 3]}),
    Case("Pad", constants={"p": ints(0, 0, 1, 2, 0, 1, -1, 3)}),
    Case("Pad", constants={"p": ints(0, 0, 1, 2, 0, 1, 0, 3), "v": np.float32(2.5)}),
    Case("Pad", constants={"p": ints(0, 0, 2, 2, 0, 0, 1, 3)}, attrs={"mode": "reflect"}),
    Case("Pad", constants={"p": ints(0, 0, 2, 2, 0, 0, 1, 3)}, attrs={"mode": "edge"}),
    Case("Pad", constants={"p": ints(1, 2), "a": ints(3)}, inputs=("x", "p", "", "a"), opset=18),
    Case("Reshape", constants={"s": ints(0, -1)}),
    Case("Reshape", constants={"s": ints(-1, 108)}),
    Case("Reshape", constants={"s": ints(1, 3, 36)}, fixed_only=True),
    Case("Reshape", constants={"s": ints(0, 0, 9, 4)}),
    Case("Flatten"),
    Case("Flatten", attrs={"axis": 0}, fixed_only=True),
    Case("Flatten", (1, 4, 5), attrs={"axis": 2}, fixed_only=True),
    Case("Flatten", (1, 4, 5), attrs={"axis": -2}),
    Case("Squeeze", (3, 1, 1), opset=11, attrs={"axes": [2, 3]}),
    Case("Squeeze", (3, 1, 1), {"a": ints(-1)}),
    Case("Squeeze", (3, 1, 1), fixed_only=True),
    Case("Unsqueeze", (3,), opset=11, attrs={"axes": [1, -1]}),
    Case("Unsqueeze", (3,), {"a": ints(2)}),
    Case("Unsqueeze", (3,), {"a": ints(0)}, fixed_only=True),
    Case("Transpose", attrs={"perm": [0, 2, 3, 1]}),
    Case("Transpose", (1, 4, 5), attrs={"perm": [1, 0, 3, 2]}, fixed_only=True),
    Case(
        "GatherND",
        nodes=(
            node("Transpose", "x", "t", perm=[2, 3, 0, 1]),
            node("GatherND", "t i", "g"),
            node("Transpose", "g", "y", perm=[4, 5, 0, 1, 2, 3]),
        ),
        constants={"i": WINDOWS},
    ),
    Case(
        "Where",
        constants={"c": np.array([[True], [False]] * 3), "n": np.float32(2)},
        inputs=("c", "x", "n"),
    ),
    Case("Where", constants={"c": np.arange(6) > 2, "n": np.float32(0)}, inputs=("c", "n", "x")),
    Case("Expand", (3, 1, 1), {"s": ints(1, 3, 4, 5)}),
    Case("Expand", (3, 4), {"s": ints(1, 1)}),
    Case("DepthToSpace", (8, 2, 3), attrs={"blocksize": 2}),
    Case("DepthToSpace", (8, 2, 3), attrs={"blocksize": 2, "mode": "CRD"}),
    Case("SpaceToDepth", (2, 4, 6), attrs={"blocksize": 2}),
    Case("Identity"),
    Case("Dropout", opset=7),
    Case("Dropout", constants={"r": np.float32(0.3)}),
    Case("Cast", attrs={"to": TensorProto.FLOAT}),
    Case("CastLike", constants={"l": np.float32(0)}),
    Case("Upsample", opset=9, constants={"s": np.array([1, 1, 2, 3], np.float32)}),
    Case("Upsample", opset=7, attrs={"scales": [1.0, 1.0, 2.0, 2.0]}),
    Case("Resize", opset=10, constants={"s": np.array([1, 1, 2, 2], np.float32)}),
    Case(
        "Resize",
        constants={"s": np.array([1, 1, 2, 2], np.float32)},
        inputs=("x", "", "s"),
        attrs={"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    ),
    Case("Resize", constants={"s": np.array([1, 1, 3, 2], np.float32)}, inputs=("x", "", "s")),
    Case(
        "Resize",
        constants={"s": np.array([1, 1, 2, 1.5], np.float32)},
        inputs=("x", "", "s"),
        attrs={"mode": "linear"},
    ),
    Case(
        "Resize",
        constants={"n": ints(9, 11), "e": np.zeros(0, np.float32)},
        inputs=("x", "e", "e", "n"),
        attrs={
            "mode": "linear",
            "coordinate_transformation_mode": "align_corners",
            "axes": [2, 3],
        },
        opset=18,
    ),
    Case(
        "Shape",
        nodes=(
            node("Shape", "x", "s"),
            node("Gather", "s i", "b", axis=0),
            node("Unsqueeze", "b z", "u"),
            node("Concat", "u m", "t", axis=0),
            node("Reshape", "x t", "y"),
        ),
        constants={"i": np.int64(0), "z": ints(0), "m": ints(-1)},
    ),
    Case(
        "Shape",
        nodes=(
            node("Shape", "x", "s", start=0, end=1),
            node("Concat", "s m", "t", axis=0),
            node("ConstantOfShape", "t", "zeros"),
            node("Concat", "zeros x zeros", "y", axis=1),
        ),
        constants={"m": ints(2, 6, 6)},
    ),
    Case(
        "Size",
        nodes=(
            node("Size", "x", "n"),
            node("Shape", "x", "s"),
            node("Gather", "s i", "b", axis=0),
            node("Div", "n b", "q"),
            node("Concat", "m q", "t", axis=0),
            node("Reshape", "x t", "y"),
        ),
        constants={"i": ints(0), "m": ints(-1)},
    ),
    Case(
        "Gather",  # torch's `as_strided`: samples laid end to end and picked apart again
        nodes=(
            node("Reshape", "x m", "f"),
            node("Gather", "f i", "y", axis=0),
        ),
        constants={"m": ints(-1), "i": np.arange(3 * 36).reshape(1, 3, 6, 6)[..., ::2]},
        fixed_only=True,
    ),
    Case("Abs", (5,)),
    Case("Pow", (5,), {"e": np.float32(1)}),
    Case("Pow", (5,), {"e": np.float32(2)}),
    *(Case(op) for op in ("Elu", "Selu", "Softplus", "Softsign", "Tanh", "Erf", "Exp", "Cos")),
    *(Case(op) for op in ("Sin", "HardSwish", "HardSigmoid", "Celu")),
    Case("Mish", opset=18),
    Case("Gelu", opset=20),
    Case("Gelu", opset=20, attrs={"approximate": "tanh"}),
    Case("Sqrt", nodes=(node("Exp", "x", "e"), node("Sqrt", "e", "y"))),
    Case("Log", nodes=(node("Exp", "x", "e"), node("Log", "e", "y"))),
    Case("Reciprocal", nodes=(node("Exp", "x", "e"), node("Reciprocal", "e", "y"))),
    Case("ReduceL1", attrs={"axes": [1, -1], "keepdims": 0}),
    Case("ReduceL2", attrs={"axes": [2]}),
    Case("LpNormalization", attrs={"axis": 1}),
    Case("LayerNormalization", constants={"s": rand(6), "b": rand(6)}),
    Case("LayerNormalization", constants={"s": rand(6, 6)}, attrs={"axis": 2}),
    Case("InstanceNormalization", constants={"s": rand(3), "b": rand(3)}),
    Case("GroupNormalization", (6, 4, 4), {"s": rand(6), "b": rand(6)}, {"num_groups": 3}, 21),
    Case("MeanVarianceNormalization", attrs={"axes": [2, 3]}),
    Case("LRN", attrs={"size": 3, "alpha": 0.5}),
    Case("Einsum", inputs=("x", "x"), attrs={"equation": "nchw,nchv->ncwv"}),
    Case(
        "Sign",
        (5,),
        nodes=(node("Sign", "x", "s"), node("Abs", "x", "a"), node("Mul", "s a", "y")),
    ),
    Case("CumSum", constants={"axis": np.array(3)}),
    Case("CumSum", constants={"axis": np.array(-3)}, attrs={"exclusive": 1, "reverse": 1}),
    Case("Einsum", attrs={"equation": "bchw->bc"}),
    Case("Einsum", attrs={"equation": "bchw->bwhc"}),
    Case("Einsum", constants={"w": rand(6, 4)}, attrs={"equation": "bchw,wo->bcho"}),
    Case("Einsum", constants={"w": rand(4, 3, 6)}, attrs={"equation": "bchw,ocw->boh"}),
    Case("Einsum", constants={"w": rand(3, 6, 2)}, attrs={"equation": "...chw,cwk->...chk"}),
    Case("Einsum", constants={"w": rand(3)}, attrs={"equation": "bchw,c->bchw"}),
    Case("Einsum", inputs=("w", "x"), constants={"w": rand(5, 6)}, attrs={"equation": "ow,bchw"}),
    Case("Einsum", constants={"w": rand(6, 2)}, attrs={"equation": "bchw,wq->bc"}),
    Case(
        "Concat",
        nodes=(
            node("Unsqueeze", "x zero", "a"),
            node("Neg", "x", "n"),
            node("Unsqueeze", "n zero", "b"),
            node("Concat", "a b a", "c", axis=0),
            node("ReduceSum", "c zero", "y", keepdims=0),
        ),
        constants={"zero": ints(0)},
    ),
    Case("Slice", constants={"s": ints(-1), "e": ints(-9), "a": ints(3), "t": ints(-1)}),
    Case("Tile", (3, 2), constants={"r": ints(1, 100, 1)}),
    Case(
        "QuantizeLinear",
        constants={"s": np.float32(0.25), "z": np.uint8(3)},
        nodes=(node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "y")),
    ),
    Case(
        "DequantizeLinear",
        constants={"s": np.abs(rand(3)) + 0.1, "z": np.array([-2, 0, 3], np.int8)},
        nodes=(
            node("QuantizeLinear", "x s z", "q", axis=1),
            node("DequantizeLinear", "q s z", "d", axis=1),
            node("Identity", "d", "y"),
        ),
    ),
]


# Where the file's meaning depends on its batch of one, other batches would be other networks.
BATCHES = [(case, batch) for case in CASES for batch in ([1] if case.fixed_only else ["n", 1, 2])]


@pytest.mark.parametrize(("case", "batch"), BATCHES, ids=str)
def test_op_equals_onnx_runtime(case: Case, batch: int | str, tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx", case, batch)
    graph = load_onnx(path)
    assert not [n.name for n in graph.nodes if n.op == "opaque"], graph.blockers()
    x = torch.from_numpy(rand(3, *case.shape, seed=9))
    expected = onnx_reference(path)(x)
    values = run(graph, x)
    assert len(graph.outputs) == len(expected) == len(case.outputs)
    for name, reference in zip(graph.outputs, expected, strict=True):
        torch.testing.assert_close(values[name], reference, rtol=1e-5, atol=1e-5)
        assert graph.shapes[name] == tuple(reference.shape[1:])


WHOLE_NUMBERS = {
    "ConvInteger": ("q", "w"),
    "MatMulInteger": ("q", "v"),
    "QLinearConv": ("q", "s", "z", "w", "s", "z", "s", "z"),
    "QLinearMatMul": ("q", "s", "z", "v", "s", "z", "s", "z"),
    "DynamicQuantizeLinear": ("x",),
}


@pytest.mark.parametrize("op", WHOLE_NUMBERS)
def test_ops_of_a_quantised_runtime_are_refused_with_the_format_to_use(
    op: str, tmp_path: Path
) -> None:
    outputs = ["q1", "s1", "z1"] if op.startswith("Dynamic") else ["q1"]
    nodes = (
        node("QuantizeLinear", "x s z", "q"),
        helper.make_node(op, WHOLE_NUMBERS[op], outputs, name="offender"),
        node("Cast", "q1", "y", to=TensorProto.FLOAT),
    )
    constants = {
        "s": np.float32(0.5), "z": np.uint8(0),
        "w": np.ones((2, 3, 2, 2), np.uint8), "v": np.ones((6, 2), np.uint8),
    }  # fmt: skip
    path = write(tmp_path / "m.onnx", Case(op, constants=constants, nodes=nodes), "n")
    try:
        items = load_onnx(path).blockers()
    except UnsupportedError as error:
        items = error.items
    assert any(i.layer == "offender" and "QDQ" in i.remedy for i in items)


_GATES = {"w": np.zeros((1, 8, 3), np.float32), "u": np.zeros((1, 8, 8), np.float32)}
REFUSED_INPUTS: dict[str, dict[str, Any]] = {
    "TopK": {"constants": {"k": ints(2)}, "outputs": ("y", "z")},
    **{op: {"constants": _GATES} for op in ("GRU", "LSTM", "RNN")},
}
# What these put out has a shape that only running them would tell.
NO_SHAPE = {"GRU", "LSTM", "RNN", *RANDOM}


@pytest.mark.parametrize("op", sorted(set(REFUSED) - {"ArgMax", *WHOLE_NUMBERS}))
def test_refused_op_is_named_and_the_walk_goes_on(op: str, tmp_path: Path) -> None:
    case = Case(op, **REFUSED_INPUTS.get(op, {}))
    inputs = case.inputs if case.inputs is not None else ("x", *case.constants)
    outputs = tuple("y" if o == "y" else o for o in case.outputs)
    first = helper.make_node(op, inputs, [f"{o}1" for o in outputs], name="offender", **case.attrs)
    nodes = (first, node("Neg", "y1", "r"), node("Hardmax", "r", "y"))
    path = write(
        tmp_path / "m.onnx",
        Case(op, case.shape, case.constants, nodes=nodes, opset=case.opset),
        "n",
    )
    try:
        items = load_onnx(path).blockers()
    except UnsupportedError as error:
        items = error.items
    found = {item.layer: item for item in items}
    assert set(found) >= ({"offender"} if op in NO_SHAPE else {"offender", "n_y"})
    assert found["offender"].op == op
    assert found["offender"].reason


def test_a_power_whose_exponent_depends_on_the_data_blocks(tmp_path: Path) -> None:
    case = Case("Pow", inputs=("x", "x"))
    (item,) = load_onnx(write(tmp_path / "m.onnx", case, "n")).blockers()
    assert item.op == "Pow"


def test_every_registered_op_has_a_case() -> None:
    elsewhere = {"Attention", "IsNaN", "RMSNormalization", "Swish"}  # test_smooth_entrances
    elsewhere |= {"Col2Im", "ReduceMin", "ScatterND"}  # test_windows_entrances
    elsewhere |= {"GatherElements", "Scatter", "ScatterElements"}  # test_onnx_elements
    assert {case.op for case in CASES} | set(REFUSED) | elsewhere == set(ONNX_OPS.names())


@pytest.mark.parametrize("op", ONNX_OPS.names())
def test_every_registered_op_is_one_of_the_standard(op: str) -> None:
    assert onnx.defs.has(op), op
    if op not in REFUSED:
        assert ONNX_OPS.describe(op)
