"""Small ONNX files changed at random: each is read and proven, or refused, within the budget.

CONVSNN_FUZZ sets how many changed files are tried (default 150), CONVSNN_FUZZ_SEED where the
numbers begin. A failure names the seed of its file.
"""

import os
import random
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from google.protobuf.message import Message
from onnx import TensorProto, helper, numpy_helper

from convsnn.errors import ConvsnnError
from convsnn.load import onnx_reference
from convsnn.load.onnx import read_onnx
from convsnn.load.onnx.budget import Budget
from convsnn.load.verify import verify_import

TRIED = int(os.environ.get("CONVSNN_FUZZ", "150"))
FIRST = int(os.environ.get("CONVSNN_FUZZ_SEED", "0"))
GROUP = 25
NUMBERS = (0, 1, -1, 2, 3, 7, 13, 255, 2**31 - 1, -(2**31), 2**40, 2**62, -(2**63), 2**63 - 1)
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-30, 1e30, 3e38, float("nan"), float("inf"), -float("inf"))
OPS = ("Relu", "Loop", "If", "Scan", "Expand", "Tile", "Einsum", "Concat", "Pad", "Sum", "Reshape")


def rand(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def model(
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    shape: tuple[int, ...],
    opset: int,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", *shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = 8
    return made


def convolutional() -> onnx.ModelProto:
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c", "s", "s", "s", "v"], ["n"]),
        node("Relu", ["n"], ["r"]),
        node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Shape", ["p"], ["dims"]),
        node("Gather", ["dims", "zero"], ["first"]),
        node("Concat", ["first", "rest"], ["target"], axis=0),
        node("Reshape", ["p", "target"], ["f"]),
        node("Gemm", ["f", "u"], ["y"], transB=1),
    ]
    constants = {
        "w": rand(2, 1, 3, 3), "b": rand(2), "s": rand(2), "v": np.abs(rand(2)),
        "zero": np.array([0]), "rest": np.array([-1]), "u": rand(3, 8),
    }  # fmt: skip
    return model(nodes, constants, (1, 4, 4), 13)


def quantised() -> onnx.ModelProto:
    node = helper.make_node
    nodes = [
        node("DequantizeLinear", ["w", "s", "wz"], ["weight"], axis=0),
        node("MatMul", ["x", "weight"], ["m"]),
        node("QuantizeLinear", ["m", "s", "z"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        node("MatMul", ["d", "u"], ["scores"]),
        node("Softmax", ["scores"], ["y"], axis=1),
    ]
    constants = {
        "w": np.arange(-8, 8, dtype=np.int8).reshape(4, 4), "s": np.float32(0.1),
        "wz": np.int8(0), "z": np.uint8(0), "u": rand(4, 3),
    }  # fmt: skip
    return model(nodes, constants, (4,), 13)


def branching() -> onnx.ModelProto:
    node = helper.make_node
    inner = helper.make_graph(
        [node("Relu", ["x"], ["i"])], "then", [], [onnx.ValueInfoProto(name="i")]
    )
    other = helper.make_graph(
        [node("Neg", ["x"], ["j"])], "else", [], [onnx.ValueInfoProto(name="j")]
    )
    nodes = [
        node("If", ["c"], ["h"], then_branch=inner, else_branch=other),
        node("Slice", ["h", "low", "high", "low"], ["a"]),
        node("Clip", ["h", "zero", "six"], ["k"]),
        node("Einsum", ["k", "w"], ["e"], equation="bi,ij->bj"),
        node("Own", ["e"], ["o"], domain="own"),
        node("ArgMax", ["o"], ["index"], axis=1, keepdims=0),
        node("Cast", ["index"], ["y"], to=TensorProto.FLOAT),
    ]
    constants = {
        "c": np.array(True), "low": np.array([1]), "high": np.array([3]), "w": rand(4, 3),
        "zero": np.float32(0), "six": np.float32(6),
    }  # fmt: skip
    made = model(nodes, constants, (4,), 17)
    body = [node("Relu", ["a"], ["b"]), node("Add", ["b", "b"], ["c"])]
    opsets = [helper.make_opsetid("", 17)]
    made.functions.append(helper.make_function("own", "Own", ["a"], ["c"], body, opsets))
    made.opset_import.append(helper.make_opsetid("own", 1))
    return made


BASES = [made().SerializeToString() for made in (convolutional, quantised, branching)]


def messages(message: Message) -> list[Message]:
    found = [message]
    for entry, value in message.ListFields():
        if entry.type == entry.TYPE_MESSAGE:
            parts = [value] if isinstance(value, Message) else value
            found += [inner for part in parts for inner in messages(part)]
    return found


def flip_bytes(draw: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def cut_or_repeat(draw: random.Random, data: bytes) -> bytes:
    start, stop = sorted(draw.randrange(len(data)) for _ in range(2))
    return data[:start] + data[start:stop] * draw.choice((0, 2)) + data[stop:]


def change_field(draw: random.Random, data: bytes) -> bytes:
    made = onnx.ModelProto.FromString(data)
    message = draw.choice(messages(made))
    fields = message.ListFields()
    if not fields:
        return data
    entry, value = draw.choice(fields)
    if entry.type == entry.TYPE_MESSAGE or draw.random() < 0.15:
        if isinstance(value, (Message, str, bytes, int, float)):
            message.ClearField(entry.name)
        elif draw.random() < 0.5:
            del value[draw.randrange(len(value))]
        else:
            place = draw.randrange(len(value))
            if entry.type == entry.TYPE_MESSAGE:
                value.add().CopyFrom(value[place])
            else:
                value.append(value[place])
        return made.SerializeToString()
    single = isinstance(value, (str, bytes, int, float))
    place = 0 if single else draw.randrange(len(value))
    new = other(draw, value if single else value[place])
    try:
        if single:
            setattr(message, entry.name, new)
        else:
            value[place] = new
    except (ValueError, TypeError):  # no such value in this field
        return data
    return made.SerializeToString()


def other(draw: random.Random, value: object) -> object:
    if isinstance(value, int):
        return draw.choice((*NUMBERS, value + 1, value - 1))
    if isinstance(value, float):
        return draw.choice(FLOATS)
    if isinstance(value, bytes):
        return flip_bytes(draw, value) if value else b"\0"
    names = ("", "x", "y", "w", "r", "\0", "n" * 5000, "a/b", *OPS)
    return draw.choice(names)


def change_dims(draw: random.Random, data: bytes) -> bytes:
    made = onnx.ModelProto.FromString(data)
    tensor = draw.choice(made.graph.initializer)
    if draw.random() < 0.3:
        kinds = [v for _, v in TensorProto.DataType.items()]
        tensor.data_type = draw.choice(kinds)
    else:
        tensor.dims[:] = [draw.choice((*range(5), 2**20, 2**40)) for _ in range(draw.randint(0, 3))]
    if draw.random() < 0.5:
        dim = made.graph.input[0].type.tensor_type.shape.dim
        dim[draw.randrange(len(dim))].dim_value = draw.choice(NUMBERS)
    return made.SerializeToString()


def swap_nodes(draw: random.Random, data: bytes) -> bytes:
    made = onnx.ModelProto.FromString(data)
    nodes = list(made.graph.node)
    draw.shuffle(nodes)
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    if draw.random() < 0.5:
        node = draw.choice(made.graph.node)
        if node.input:
            node.input[draw.randrange(len(node.input))] = draw.choice(
                [n for other in nodes for n in (*other.input, *other.output)]
            )
    return made.SerializeToString()


CHANGES: list[Callable[[random.Random, bytes], bytes]] = [
    flip_bytes, cut_or_repeat, change_field, change_field, change_field, change_dims, swap_nodes,
]  # fmt: skip


def changed(seed: int) -> bytes:
    draw = random.Random(seed)
    data = draw.choice(BASES)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        try:
            data = draw.choice(CHANGES)(draw, data)
        except Exception:  # an earlier change left no model to change, or nothing in it
            return flip_bytes(draw, data) if data else data
    return data


def read_and_prove(path: Path) -> bool:
    """Whether the file was read and equals its original."""
    graph = read_onnx(path, budget=Budget(seconds=60)).graph
    graph.require_convertible()
    shape = graph.input.attrs["shape"]
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    verify_import(graph, onnx_reference(path), x)
    return True


@pytest.mark.parametrize("base", range(len(BASES)))
def test_the_files_that_are_changed_are_sound(base: int, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(BASES[base])
    assert read_and_prove(path)


@pytest.mark.parametrize("start", range(FIRST, FIRST + TRIED, GROUP))
def test_changed_files_are_read_or_refused(start: int, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    for seed in range(start, min(start + GROUP, FIRST + TRIED)):
        path.write_bytes(changed(seed))
        said = refusal(path, seed)
        assert "fault of convsnn" not in said, f"seed {seed}: {said}"
        assert len(said.encode()) < 3000, f"seed {seed}: {said[:300]}"


def refusal(path: Path, seed: int) -> str:
    """What is said of a file that cannot be read, with its hint; '' where it is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read_and_prove(path)
    except ConvsnnError as error:
        return f"{error} {error.hint}"
    except BaseException as error:
        raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
    return ""
