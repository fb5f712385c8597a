"""What a file's answer is, in which type it is compared, and quantised files as staircases."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from test_onnx_file import model, node, rand, save, small

from convsnn.errors import LoadError
from convsnn.load.onnx import onnx_reference, read_onnx
from convsnn.load.verify import verify_import


def prove(
    path: Path, output: str | None = None
) -> tuple[torch.nn.Module | object, tuple[str, ...]]:
    read = read_onnx(path, output=output)
    x = torch.from_numpy(rand(6, *read.graph.input.attrs["shape"], seed=3))
    verify_import(read.graph, onnx_reference(path, output=output), x)
    return read.graph, read.notes


def test_nodes_may_stand_in_any_order(tmp_path: Path) -> None:
    made = small()
    nodes = list(made.graph.node)[::-1]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    prove(save(made, tmp_path))
    made.graph.node[2].input[0] = "r"
    with pytest.raises(LoadError, match=r"circle: '.*' and '.*'"):
        prove(save(made, tmp_path))
    made.graph.node[0].output[0] = "h"
    with pytest.raises(LoadError, match="two nodes make the value 'h'"):
        prove(save(made, tmp_path))


def test_constants_labels_and_unread_inputs_are_left_out_with_a_note(tmp_path: Path) -> None:
    made = model(
        node("MatMul", "x w", "scores"), node("ArgMax", "scores", "index", axis=1, keepdims=0),
        node("Gather", "names index", "label"), node("Identity", "v", "version"),
        outputs=("scores", "label", "version"), w=rand(4, 3), names=np.array([5, 6, 7]),
        v=np.float32(2),
    )  # fmt: skip
    made.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, ("n", 2)))
    graph, notes = prove(save(made, tmp_path))
    assert graph.outputs == ("n_scores",)
    assert [note.split("'")[1] for note in notes] == ["label", "version", "mask"]


@pytest.mark.parametrize("pick", ["ArgMax", "TopK"])
def test_a_file_that_gives_only_labels_is_cut_before_them(pick: str, tmp_path: Path) -> None:
    last = node("ArgMax", "p", "y", axis=1)
    if pick == "TopK":
        last = node("TopK", "p k", "y z", axis=1)
    made = model(
        node("MatMul", "x w", "s"), node("Softmax", "s", "p", axis=1), last,
        w=rand(4, 3), k=np.array([2]),
    )  # fmt: skip
    graph, notes = prove(save(made, tmp_path))
    assert graph.outputs == ("n_p",)
    assert notes == (f"the answer is 'p'; what {pick} makes of it is left out",)


def test_a_choice_that_the_network_goes_on_with_is_not_cut(tmp_path: Path) -> None:
    made = model(
        node("ArgMax", "x", "i", axis=1, keepdims=0), node("Gather", "table i", "e"),
        node("MatMul", "e w", "y"), table=rand(4, 5), w=rand(5, 2),
    )  # fmt: skip
    graph = read_onnx(save(made, tmp_path)).graph
    assert [item.op for item in graph.blockers()][:1] == ["ArgMax"]


def test_any_value_or_node_can_be_the_answer(tmp_path: Path) -> None:
    path = save(small(), tmp_path)
    for name in ("r", "n_r"):
        graph, _ = prove(path, name)
        assert graph.outputs == ("n_r",)
    with pytest.raises(LoadError, match="no value 'nothing'"):
        prove(path, "nothing")
    with pytest.raises(LoadError, match="no value 'w'"):
        prove(path, "w")


@pytest.mark.parametrize("kind", ["FLOAT16", "BFLOAT16", "DOUBLE"])
def test_a_file_is_compared_in_its_own_type(kind: str, tmp_path: Path) -> None:
    number = TensorProto.DataType.Value(kind)
    dtype = helper.tensor_dtype_to_np_dtype(number)
    w, v = rand(4, 16).astype(dtype), rand(16, 3).astype(dtype)
    nodes = (node("MatMul", "x w", "h"), node("Relu", "h", "r"), node("MatMul", "r v", "y"))
    path = save(model(*nodes, kind=number, w=w, v=v), tmp_path)
    prove(path)
    wanted = {"FLOAT16": torch.float16, "BFLOAT16": torch.bfloat16, "DOUBLE": torch.float64}
    reference = onnx_reference(path)
    assert reference.dtype == wanted[kind]
    x = torch.tensor([1 + 2**-12])
    assert (reference.rounded(x) == x).item() == (kind == "DOUBLE")


def quantised(opset: int, *, zero: int = 0, rectified: bool = False) -> onnx.ModelProto:
    nodes = [
        node("DequantizeLinear", "q s qz", "w", **({"axis": 1} if opset >= 13 else {})),
        node("MatMul", "x w", "m"),
        *([node("Relu", "m", "r")] if rectified else []),
        node("QuantizeLinear", "r a z" if rectified else "m a z", "b"),
        node("DequantizeLinear", "b a z", "d"),
        node("Reshape", "d shape", "e"),
        node("QuantizeLinear", "e a z", "f"),
        node("DequantizeLinear", "f a z", "g"),
        node("MatMul", "g v", "scores"),
        node("QuantizeLinear", "scores a z", "h"),
        node("DequantizeLinear", "h a z", "y"),
    ]
    each = opset >= 13
    scale = np.abs(rand(6)) * 0.02 if each else np.float32(0.02)
    return model(
        *nodes, opset=opset, q=np.arange(-12, 12, dtype=np.int8).reshape(4, 6), s=scale,
        qz=np.zeros(6, np.int8) if each else np.int8(0), a=np.float32(0.01), z=np.uint8(zero),
        shape=np.array([-1, 6]), v=rand(6, 3),
    )  # fmt: skip


@pytest.mark.parametrize("opset", [10, 13, 19, 21, 23])
def test_a_quantised_file_is_a_staircase_at_every_opset(opset: int, tmp_path: Path) -> None:
    graph, notes = prove(save(quantised(opset), tmp_path))
    (site,) = graph.sites.values()  # moved values stand on the same steps: one staircase
    assert (site.levels, site.shift) == (255, 0.5)
    assert notes == ("the answer is 'scores'; the rounding behind it is left out",)


def test_a_zero_point_above_the_lowest_number_is_a_staircase_of_fewer_levels(
    tmp_path: Path,
) -> None:
    graph, _ = prove(save(quantised(13, zero=100, rectified=True), tmp_path))
    assert next(iter(graph.sites.values())).levels == 155


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_steps_of_each_channel_become_factors_and_steps_below_zero_are_refused(
    kind: type[np.generic], tmp_path: Path
) -> None:
    made = model(
        node("QuantizeLinear", "x a z", "q"), node("DequantizeLinear", "q a z", "d"),
        node("MatMul", "d w", "y"), a=np.abs(rand(4)) + 1, z=np.zeros(4, kind), w=rand(4, 2),
    )  # fmt: skip
    path = save(made, tmp_path)
    items = read_onnx(path).graph.blockers()
    if kind is np.uint8:
        assert not items
        prove(path)
    else:
        assert {item.op for item in items} == {"QuantizeLinear"}
        assert any("zero point" in item.remedy or "threshold" in item.remedy for item in items)


def test_fusions_of_the_runtime_are_refused_with_what_to_do(tmp_path: Path) -> None:
    made = model(node("FusedMatMul", "x w", "y", domain="com.microsoft"), w=rand(4, 2))
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(Exception, match="would stay analog") as caught:
        read_onnx(save(made, tmp_path))
    assert "without the runtime's own fusions" in caught.value.items[0].remedy
