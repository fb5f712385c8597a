"""ONNX files as they come: real ones, damaged ones, external data, fixed batches, blockers."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from convsnn.errors import ConvsnnError, LoadError, UnsupportedError
from convsnn.graph import Graph, run
from convsnn.load.onnx import load_onnx, onnx_reference, read_metadata
from convsnn.spiking.kinds import refused_roles

REAL = {
    "mnist_cntk_opset8": 1,
    "cifar10_resnet_2b": 1,
    "cifar10_marabou_small_nhwc": 1,
    "mnist_fc_256x2": 1,
    "conv1d_small_keras": 1,
    "rfb320_face": 2,
    "super_resolution_opset10": 1,
}


def rand(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def node(op: str, inputs: str, outputs: str, **attrs: Any) -> onnx.NodeProto:
    attrs.setdefault("name", f"n_{outputs}")
    return helper.make_node(op, inputs.split(), outputs.split(), **attrs)


def model(
    *nodes: onnx.NodeProto,
    dims: tuple[int | str | None, ...] | None = ("n", 4),
    outputs: tuple[str, ...] = ("y",),
    opset: int = 17,
    kind: int = TensorProto.FLOAT,
    result: int = 0,
    **constants: np.ndarray,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, dims)],
        [helper.make_tensor_value_info(name, result or kind, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = 8
    return made


def save(made: onnx.ModelProto, folder: Path, name: str = "m.onnx") -> Path:
    path = folder / name
    path.write_bytes(made.SerializeToString())
    return path


def load(made: onnx.ModelProto, folder: Path) -> Graph:
    return load_onnx(save(made, folder))


def small() -> onnx.ModelProto:
    return model(
        node("Gemm", "x w b", "h"),
        node("Relu", "h", "r"),
        node("Gemm", "r v", "y"),
        w=rand(4, 5),
        b=rand(5),
        v=rand(5, 3),
    )


def same(graph: Graph, path: Path, batch: int = 3, tolerance: float = 1e-4) -> None:
    x = torch.from_numpy(rand(batch, *graph.input.attrs["shape"], seed=5))
    expected, values = onnx_reference(path)(x), run(graph, x)
    assert len(expected) == len(graph.outputs)
    for name, reference in zip(graph.outputs, expected, strict=True):
        assert values[name].shape == reference.shape
        gap = (values[name] - reference).abs().max() / reference.abs().max()
        assert gap <= tolerance, f"{name}: {gap}"


@pytest.mark.parametrize("name", REAL)
def test_real_files_match_onnx_runtime(name: str, shared_data: Path) -> None:
    path = shared_data / "onnx" / f"{name}.onnx"
    graph = load_onnx(path)
    assert graph.blockers() == ()
    assert len(graph.outputs) == REAL[name]
    same(graph, path, 1)
    same(graph, path, 3)


def test_old_opset_is_refused_by_number(shared_data: Path) -> None:
    with pytest.raises(LoadError, match="opset 6") as caught:
        load_onnx(shared_data / "onnx" / "three_layer_bn_pytorch_0_3.onnx")
    assert "newer opset" in caught.value.hint


@pytest.mark.parametrize("opset", [1, 6, 999])
def test_opsets_out_of_range_are_named(opset: int, tmp_path: Path) -> None:
    made = small()
    made.opset_import[0].version = opset
    with pytest.raises(LoadError, match=f"opset {opset}") as caught:
        load(made, tmp_path)
    assert "export it again" in caught.value.hint


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17, 20, 23, onnx.defs.onnx_opset_version()])
def test_opsets_in_range_are_read(opset: int, tmp_path: Path) -> None:
    made = small()
    made.graph.node[2].input.append("c")
    made.graph.initializer.append(numpy_helper.from_array(rand(3), "c"))
    made.opset_import[0].version = opset
    graph = load(made, tmp_path)
    assert [n.name for n in graph.nodes] == ["x", "n_h", "n_r", "n_y"]
    assert set(graph.tensors) == {"w", "b", "v", "c"}


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="No such file"):
        load_onnx(tmp_path / "missing.onnx")
    with pytest.raises(LoadError, match="cannot be read"):
        load_onnx(tmp_path)
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(LoadError, match="holds no ONNX network"):
        load_onnx(tmp_path / "empty.onnx")
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(LoadError, match="not an ONNX model"):
        read_metadata(tmp_path / "text.onnx")


fuzz = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@fuzz
@given(data=st.binary(max_size=300))
def test_random_bytes_never_give_another_error(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "random.onnx"
    path.write_bytes(data)
    with pytest.raises(LoadError):
        load_onnx(path)
    with pytest.raises(LoadError):
        onnx_reference(path)


WHOLE = small().SerializeToString()


@fuzz
@given(length=st.integers(0, len(WHOLE) - 1))
def test_truncated_files_are_refused(length: int, tmp_path: Path) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes(WHOLE[:length])
    with pytest.raises(LoadError):
        load_onnx(path)


@settings(fuzz, max_examples=200)
@given(place=st.integers(0, len(WHOLE) - 1), value=st.integers(0, 255))
def test_a_changed_byte_gives_a_graph_or_an_error(place: int, value: int, tmp_path: Path) -> None:
    damaged = bytearray(WHOLE)
    damaged[place] = value
    path = tmp_path / "changed.onnx"
    path.write_bytes(bytes(damaged))
    with contextlib.suppress(ConvsnnError):
        assert load_onnx(path).shapes


def test_metadata_is_read(tmp_path: Path) -> None:
    made = small()
    made.metadata_props.add(key="mean", value="0.5,0.5")
    assert read_metadata(save(made, tmp_path)) == {"mean": "0.5,0.5"}


def test_external_data_beside_the_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(small(), path, save_as_external_data=True, size_threshold=0, location="m.bin")
    assert (tmp_path / "m.bin").exists()
    same(load_onnx(path), path)
    (tmp_path / "m.bin").write_bytes(b"short")
    with pytest.raises(LoadError, match="too short"):
        load_onnx(path)
    (tmp_path / "m.bin").unlink()
    with pytest.raises(LoadError, match=r"'m\.bin' .* is missing"):
        load_onnx(path)


@pytest.mark.parametrize(
    "where", ["../secret.bin", "{abs}", "link.bin", "sub/../../secret.bin", ""]
)
def test_external_data_outside_the_folder_is_refused(where: str, tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(80))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    where = where.replace("{abs}", str(tmp_path / "secret.bin"))
    made = small()
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=where)
    with pytest.raises(LoadError, match="outside the model's folder") as caught:
        load(made, folder)
    assert where in str(caught.value)
    with pytest.raises(LoadError, match="outside the model's folder"):
        onnx_reference(folder / "m.onnx")


@pytest.mark.parametrize("kind", ["float16", "float64", "bfloat16"])
def test_weights_of_other_float_types_become_float32(kind: str, tmp_path: Path) -> None:
    onnx_kind = {
        "float16": TensorProto.FLOAT16,
        "float64": TensorProto.DOUBLE,
        "bfloat16": TensorProto.BFLOAT16,
    }[kind]
    dtype = helper.tensor_dtype_to_np_dtype(onnx_kind)
    weight = rand(4, 3).astype(dtype)
    made = model(node("MatMul", "x w", "y"), kind=onnx_kind, w=weight)
    graph = load(made, tmp_path)
    assert graph.tensors["w"].dtype == torch.float32
    torch.testing.assert_close(
        graph.tensors["w"].T, torch.from_numpy(weight.astype(np.float32)), rtol=0, atol=0
    )
    if kind == "float64":
        same(graph, tmp_path / "m.onnx", tolerance=1e-6)


def test_double_network_runs_in_float32(tmp_path: Path) -> None:
    made = model(
        node("Cast", "x", "d", to=TensorProto.DOUBLE),
        node("MatMul", "d w", "m"),
        node("Cast", "m", "y", to=TensorProto.FLOAT),
        w=rand(4, 3).astype(np.float64),
    )
    graph = load(made, tmp_path)
    assert [n.op for n in graph.nodes] == ["input", "linear"]
    same(graph, tmp_path / "m.onnx")


def test_bytes_as_input_are_taken_once_cast(tmp_path: Path) -> None:
    nodes = (node("Cast", "x", "f", to=TensorProto.FLOAT), node("MatMul", "f w", "y"))
    made = model(*nodes, kind=TensorProto.UINT8, result=TensorProto.FLOAT, w=rand(4, 3))
    path = save(made, tmp_path)
    x = torch.randint(0, 256, (3, 4)).float()
    graph = load_onnx(path)
    torch.testing.assert_close(run(graph, x)[graph.outputs[0]], onnx_reference(path)(x)[0])
    made = model(node("Add", "x x", "s"), node("Cast", "s", "y", to=1), kind=TensorProto.UINT8)
    assert load(made, tmp_path).blockers()[0].op == "Add"


def test_initializers_listed_as_inputs_are_constants(tmp_path: Path) -> None:
    made = small()
    for tensor in made.graph.initializer:
        info = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        made.graph.input.append(info)
    graph = load(made, tmp_path)
    assert [n.name for n in graph.inputs] == ["x"]
    same(graph, tmp_path / "m.onnx")


@pytest.mark.parametrize("batch", [1, 4])
def test_fixed_batch_becomes_free(batch: int, tmp_path: Path) -> None:
    made = model(
        node("Reshape", "x s", "r"), node("Gemm", "r w", "y"),
        dims=(batch, 2, 3), s=np.array([batch, 6]), w=rand(6, 2),
    )  # fmt: skip
    graph = load(made, tmp_path)
    for count in (1, 3, 5):
        same(graph, tmp_path / "m.onnx", count)


MIXING = {
    "Transpose": (node("Transpose", "x", "y", perm=[1, 0]),),
    "Softmax": (node("Softmax", "x", "y", axis=0),),
    "Concat": (node("Concat", "x x", "y", axis=0),),
    "Reshape": (node("Reshape", "x flat", "h"), node("Relu", "h", "y")),
    "ReduceMean": (node("ReduceMean", "x", "y", axes=[0]),),
    "Gather": (node("Gather", "x zero", "y", axis=0),),
    "MatMul": (node("MatMul", "square x", "y"),),
    "Add": (node("Add", "x rows", "y"),),
    "Gemm": (node("Gemm", "x rows", "y", transA=1),),
}


@pytest.mark.parametrize("op", MIXING)
@pytest.mark.parametrize("batch", ["n", 4])
def test_networks_that_mix_the_batch_are_refused(op: str, batch: int | str, tmp_path: Path) -> None:
    made = model(
        *MIXING[op], dims=(batch, 4), flat=np.array([-1]), zero=np.array(0),
        first=np.array([0]), square=rand(4, 4), rows=rand(4, 4),
    )  # fmt: skip
    with pytest.raises(LoadError, match=op) as caught:
        load(made, tmp_path)
    assert f"'{made.graph.node[0].name}'" in str(caught.value)
    assert "batch" in caught.value.hint


def test_a_batch_that_was_moved_and_stays_there_is_refused(tmp_path: Path) -> None:
    made = model(
        node("Unsqueeze", "x first", "h"), node("Relu", "h", "y"),
        dims=("n", 4), first=np.array([0]),
    )  # fmt: skip
    with pytest.raises(LoadError, match="axis 1 becomes axis 0") as caught:
        load(made, tmp_path)
    assert "batch" in caught.value.hint


def test_samples_laid_end_to_end_may_be_parted_again(tmp_path: Path) -> None:
    made = model(
        node("Reshape", "x flat", "h"), node("Reshape", "h back", "r"), node("Relu", "r", "y"),
        dims=("n", 2, 3), flat=np.array([-1]), back=np.array([-1, 6]),
    )  # fmt: skip
    graph = load(made, tmp_path)
    same(graph, tmp_path / "m.onnx")


def test_outputs_keep_their_order_and_are_distinct(tmp_path: Path) -> None:
    made = model(
        node("Relu", "x", "r"), node("Identity", "r", "i"), node("MatMul", "r w", "m"),
        outputs=("m", "r", "i", "x"), w=rand(4, 2),
    )  # fmt: skip
    graph = load(made, tmp_path)
    assert graph.outputs == ("m", "r", "i", "x_1")
    same(graph, tmp_path / "m.onnx")


def test_names_are_the_users_own_and_unique(tmp_path: Path) -> None:
    made = model(
        node("MatMul", "x w", "a", name="layer"), node("Relu", "a", "b", name="layer"),
        node("MatMul", "b w", "c", name="w"), node("Relu", "c", "y", name=""), w=rand(4, 4),
    )  # fmt: skip
    graph = load(made, tmp_path)
    names = [n.name for n in graph.nodes]
    assert names[:2] == ["x", "layer"]
    assert names[-1] == "y"
    assert len({*names, *graph.tensors}) == len(names) + len(graph.tensors) == 7


def test_source_is_the_users_line(tmp_path: Path) -> None:
    made = model(node("Relu", "x", "y"))
    trace = 'File "/a/torch/nn.py", line 3, in f\n  y\nFile "/a/net.py", line 12, in forward\n  z'
    made.graph.node[0].metadata_props.add(key="pkg.torch.onnx.stack_trace", value=trace)
    assert load(made, tmp_path).by_name["n_y"].source == "net.py:12"


def test_all_blockers_are_named_at_once(tmp_path: Path) -> None:
    made = model(
        node("Softplus", "x", "a"), node("MatMul", "a w", "b"), node("Mul", "b b", "c"),
        node("Elu", "c", "d"), node("Sigmoid", "d", "e"), node("Relu", "e", "y"), w=rand(4, 4),
    )  # fmt: skip
    items = load(made, tmp_path).blockers(refused_roles("binary"))
    assert [(i.layer, i.op) for i in items] == [
        ("n_a", "softplus"), ("n_c", "power"), ("n_d", "elu"), ("n_e", "sigmoid"),
    ]  # fmt: skip
    assert all(i.reason for i in items)


def test_ops_of_unknown_shape_are_listed_with_all_others(tmp_path: Path) -> None:
    made = model(
        node("Tanh", "x", "a"), node("Magic", "a", "b", domain="com.x"),
        node("Relu", "b", "c"), node("Gelu", "c", "y"), opset=20,
    )  # fmt: skip
    made.opset_import.append(helper.make_opsetid("com.x", 1))
    with pytest.raises(UnsupportedError, match="1 place") as caught:
        load(made, tmp_path)
    assert [(i.layer, i.op) for i in caught.value.items] == [("n_b", "Magic")]


def test_what_the_outputs_do_not_need_does_not_block(tmp_path: Path) -> None:
    made = model(node("Tanh", "x", "unused"), node("Relu", "x", "y"))
    graph = load(made, tmp_path)
    assert [n.op for n in graph.nodes] == ["input", "relu"]


def test_free_image_size_needs_the_input_shape(tmp_path: Path) -> None:
    made = model(node("Relu", "x", "y"), dims=("n", 3, None, None))
    with pytest.raises(LoadError, match=r"\(3, \?, \?\)") as caught:
        load(made, tmp_path)
    assert "input shape" in caught.value.hint
    graph = load_onnx(tmp_path / "m.onnx", input_shape=(3, 4, 5))
    assert graph.input.attrs["shape"] == [3, 4, 5]
    with pytest.raises(LoadError, match="takes samples of"):
        load_onnx(tmp_path / "m.onnx", input_shape=(1, 4, 5))


BROKEN = {
    "reads 'nothing'": model(node("Add", "x nothing", "y")),
    "no node makes the output": model(node("Relu", "x", "other")),
    "does not depend on the input": model(node("Relu", "w", "y"), w=rand(2, 2)),
    "has no data input": model(node("Relu", "w", "y"), w=rand(2, 2)),
    "does not fit": model(node("MatMul", "x w", "y"), w=rand(3, 2)),
    "malformed: Unrecognized attribute": model(node("Relu", "x", "y", beta=2)),
    "divides by zero": model(node("Div", "x w", "y"), w=np.zeros(4, np.float32)),
    "cannot be read: its constant": model(
        node("Reshape", "w s", "v"), node("Add", "x v", "y"), w=rand(4), s=np.array([3, 3])
    ),
    "are too large": model(
        node("Expand", "w s", "v"), node("Add", "x v", "y"), w=rand(1), s=np.array([2**40])
    ),
}  # fmt: skip
BROKEN["has no data input"].graph.ClearField("input")


@pytest.mark.parametrize("text", BROKEN)
def test_broken_networks_are_explained(text: str, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=text):
        load(BROKEN[text], tmp_path)


def test_constant_branches_are_taken(tmp_path: Path) -> None:
    def branch(op: str) -> onnx.GraphProto:
        inner = helper.make_node(op, ["x"], [f"inner_{op}"], name=op)
        output = helper.make_tensor_value_info(f"inner_{op}", TensorProto.FLOAT, None)
        return helper.make_graph([inner], op, [], [output])

    choice = node("If", "c", "h", then_branch=branch("Relu"), else_branch=branch("Neg"))
    made = model(choice, node("MatMul", "h w", "y"), c=np.array(True), w=rand(4, 2))
    graph = load(made, tmp_path)
    assert [n.op for n in graph.nodes] == ["input", "relu", "linear"]
    same(graph, tmp_path / "m.onnx")


def test_functions_are_inlined(tmp_path: Path) -> None:
    made = model(node("Twice", "x", "y", domain="own"), w=rand(4, 2))
    opsets = [helper.make_opsetid("", 17)]
    body = [node("Relu", "a", "b"), node("Add", "b b", "c")]
    made.functions.append(helper.make_function("own", "Twice", ["a"], ["c"], body, opsets))
    made.opset_import.append(helper.make_opsetid("own", 1))
    graph = load(made, tmp_path)
    assert [n.op for n in graph.nodes] == ["input", "relu", "add"]
    same(graph, tmp_path / "m.onnx")
