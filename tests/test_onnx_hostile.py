"""ONNX files that ask for too much, lie about themselves, or reach for what is not theirs."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from test_onnx_file import load, model, node, rand, same, save, small

from convsnn.errors import LoadError, UnsupportedError
from convsnn.load.onnx import load_onnx, onnx_reference, read_onnx
from convsnn.load.onnx.budget import Budget


def function(name: str, *calls: str) -> onnx.FunctionProto:
    values = ["a", *(f"v{i}" for i in range(len(calls) - 1)), "b"]
    body = [
        helper.make_node(call, [values[i]], [values[i + 1]], domain="" if call == "Relu" else "own")
        for i, call in enumerate(calls)
    ]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_function("own", name, ["a"], ["b"], body, opsets)


def calling(name: str, *functions: onnx.FunctionProto) -> onnx.ModelProto:
    made = model(node(name, "x", "y", domain="own"))
    made.functions.extend(functions)
    made.opset_import.append(helper.make_opsetid("own", 1))
    return made


def test_functions_in_functions_are_counted_before_they_are_written_out(tmp_path: Path) -> None:
    levels = [function("F0", *["Relu"] * 10)]
    levels += [function(f"F{i}", *[f"F{i - 1}"] * 10) for i in range(1, 8)]
    with pytest.raises(LoadError, match="more nodes than can be read") as caught:
        load(calling("F7", *levels), tmp_path)
    assert "functions inlined" in caught.value.hint
    assert len(load(calling("F1", *levels[:2]), tmp_path).sites) == 100


def test_functions_that_call_themselves_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="calls itself"):
        load(calling("A", function("A", "Relu", "A")), tmp_path)
    with pytest.raises(LoadError, match="calls itself"):
        load(calling("A", function("A", "B"), function("B", "Relu", "A")), tmp_path)
    deep = [function(f"F{i}", f"F{i + 1}") for i in range(2000)] + [function("F2000", "Relu")]
    with pytest.raises(LoadError, match="too deeply"):
        load(calling("F0", *deep), tmp_path)
    twice = calling("A", function("A", "Relu"), function("A", "Relu"))
    with pytest.raises(LoadError, match="cannot be inlined"):
        load(twice, tmp_path)


def looping(rounds: int) -> onnx.ModelProto:
    kinds = (("i", TensorProto.INT64), ("c", TensorProto.BOOL), ("v", TensorProto.FLOAT))
    inputs = [helper.make_tensor_value_info(name, kind, []) for name, kind in kinds]
    body = helper.make_graph(
        [node("Identity", "c", "go"), node("Add", "v v", "sum")],
        "body",
        inputs,
        [
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, []),
        ],
    )
    nodes = (node("Loop", "rounds true start", "end", body=body), node("Add", "x end", "y"))
    return model(
        *nodes, rounds=np.array(rounds), true=np.array(True), start=np.array(1, np.float32)
    )


def test_loops_over_constants_are_read_round_by_round(tmp_path: Path) -> None:
    path = save(looping(3), tmp_path)
    same(load_onnx(path), path)
    with pytest.raises(LoadError, match="more nodes than can be read"):
        load(looping(2**62), tmp_path)


BOMBS = {
    "Expand": (node("Expand", "one size", "big"), {"size": np.array([2**20, 2**20])}),
    "ConstantOfShape": (node("ConstantOfShape", "size", "big"), {"size": np.array([2**40])}),
    "Range": (node("Range", "low high step", "big"), {
        "low": np.array(0), "high": np.array(2**40), "step": np.array(1)}),
    "Tile": (node("Tile", "one size", "big"), {"size": np.array([2**40])}),
    "Pad": (node("Pad", "one size", "big"), {"size": np.array([2**40, 0])}),
    "Resize": (node("Resize", "one none none size", "big"), {
        "none": np.zeros(0, np.float32), "size": np.array([2**40])}),
}  # fmt: skip


@pytest.mark.parametrize("op", BOMBS)
def test_constants_that_no_machine_holds_are_refused(op: str, tmp_path: Path) -> None:
    first, constants = BOMBS[op]
    made = model(first, node("Add", "x big", "y"), one=np.ones(1, np.float32), **constants)
    with pytest.raises(LoadError, match=op):
        load(made, tmp_path)


def test_constants_are_bounded_together_and_not_each(tmp_path: Path) -> None:
    nodes = [node("Expand", f"one s{i}", f"v{i}") for i in range(6)]
    nodes += [node("ReduceMax", f"v{i}", f"m{i}", keepdims=0) for i in range(6)]
    nodes.append(node("Sum", "x " + " ".join(f"m{i}" for i in range(6)), "y"))
    sizes = {f"s{i}": np.array([1 << 10]) for i in range(6)}
    path = save(model(*nodes, one=np.ones(1, np.float32), **sizes), tmp_path)
    assert read_onnx(path, budget=Budget(numbers=1 << 13)).graph.outputs
    with pytest.raises(LoadError, match="constants of the file are too large"):
        read_onnx(path, budget=Budget(numbers=1 << 12))


def test_products_of_constants_are_bounded_by_what_they_cost(tmp_path: Path) -> None:
    w = np.ones((64, 64), np.float32)
    nodes = [node("MatMul", "w w", "a"), node("MatMul", "x a", "y")]
    path = save(model(*nodes, dims=("n", 64), w=w), tmp_path)
    same(load_onnx(path), path)
    with pytest.raises(LoadError, match="take too long"):
        read_onnx(path, budget=Budget(work=64**3 - 1))
    with pytest.raises(LoadError, match="took more than 0 s"):
        read_onnx(path, budget=Budget(seconds=0))


def test_text_is_no_constant_of_a_network(tmp_path: Path) -> None:
    words = helper.make_tensor("words", TensorProto.STRING, [1], [b"a" * 50 + b"!"])
    made = model(
        node("RegexFullMatch", "words", "found", pattern="(a+)+$"),
        node("Cast", "found", "f", to=TensorProto.FLOAT), node("Add", "x f", "y"), opset=20,
    )  # fmt: skip
    made.graph.initializer.append(words)
    with pytest.raises(LoadError, match="text"):
        load(made, tmp_path)


def external(folder: Path, *, location: str, length: bool = True, **fields: Any) -> Path:
    made = small()
    tensor = made.graph.initializer[0]
    data = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    if length:
        tensor.external_data.add(key="length", value=str(len(data)))
    for key, value in fields.items():
        tensor.external_data.add(key=key, value=str(value))
    return save(made, folder)


def test_external_data_without_a_length_is_read_by_its_shape(tmp_path: Path) -> None:
    path = external(tmp_path, location="w.bin", length=False)
    with (tmp_path / "w.bin").open("wb") as file:
        file.write(small().graph.initializer[0].raw_data)
        file.truncate(40 << 30)  # no place is taken on the disk
    same(load_onnx(path), path)


def test_large_external_data_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = external(tmp_path, location="w.bin", length=False)
    made = onnx.load(path, load_external_data=False)
    made.graph.initializer[0].dims[:] = [1 << 17, 1 << 17]
    with (tmp_path / "w.bin").open("wb") as file:
        file.truncate(1 << 36)
    with pytest.raises(LoadError, match="too large"):
        load(made, tmp_path)


@pytest.mark.parametrize(
    "location", ["\0", "n" * 5000, "loop", "loop/w.bin", "w\0.bin", ".", "pipe", "w.bin/w.bin"]
)
def test_odd_places_of_external_data_are_refused(location: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "w.bin").write_bytes(b"")
    with pytest.raises(LoadError, match="tensor 'w'") as caught:
        load_onnx(external(tmp_path, location=location))
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize(("key", "value"), [("offset", -4), ("offset", "x"), ("offset", 2**70)])
def test_odd_offsets_of_external_data_are_refused(key: str, value: Any, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(1000))
    with pytest.raises(LoadError, match="cannot be read"):
        load_onnx(external(tmp_path, location="w.bin", **{key: value}))


def test_a_cache_made_of_links_is_followed_to_its_blobs(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "main"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    external(blobs, location="m.bin").rename(blobs / "0123")
    (blobs / "4567").write_bytes(small().graph.initializer[0].raw_data)
    (snapshot / "m.onnx").symlink_to("../../blobs/0123")
    (snapshot / "m.bin").symlink_to("../../blobs/4567")
    same(load_onnx(snapshot / "m.onnx"), snapshot / "m.onnx")
    (snapshot / "m.bin").unlink()
    (tmp_path / "secret").write_bytes(bytes(80))
    (snapshot / "m.bin").symlink_to("../../secret")
    with pytest.raises(LoadError, match="outside the model's folder"):
        load_onnx(snapshot / "m.onnx")


def test_a_linked_model_finds_its_data_beside_its_real_place(tmp_path: Path) -> None:
    folder = tmp_path / "real"
    folder.mkdir()
    external(folder, location="w.bin")
    (folder / "w.bin").write_bytes(small().graph.initializer[0].raw_data)
    (tmp_path / "link.onnx").symlink_to("real/m.onnx")
    same(load_onnx(tmp_path / "link.onnx"), tmp_path / "link.onnx")


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_weights_that_are_no_numbers_are_the_files_fault(bad: float, tmp_path: Path) -> None:
    weight = rand(4, 5).astype(np.float64 if bad == 1e300 else np.float32)
    weight[1, 2] = bad
    made = model(node("Cast", "w", "v", to=11), node("MatMul", "x v", "y"), w=weight)
    with pytest.raises(LoadError, match=r"'v', which holds .*(NaN|infinite|too large)") as caught:
        load(made, tmp_path)
    assert "n_y" in str(caught.value)


def test_an_original_that_overflows_is_named_as_such(tmp_path: Path) -> None:
    huge = np.full((4, 4), 1e30, np.float32)
    path = save(model(node("MatMul", "x w", "a"), node("MatMul", "a w", "y"), w=huge), tmp_path)
    with pytest.raises(LoadError, match="'y' is not finite") as caught:
        same(load_onnx(path), path)
    assert "weights" in caught.value.hint


WRONG = {
    "Gemm": {"w": rand(4, 5), "b": rand(2)},
    "BatchNormalization": {"s": rand(4), "b": rand(4), "m": rand(3), "v": rand(4)},
}  # fmt: skip


@pytest.mark.parametrize("op", WRONG)
def test_a_bias_of_the_wrong_shape_is_named(op: str, tmp_path: Path) -> None:
    made = model(node(op, "x " + " ".join(WRONG[op]), "y"), **WRONG[op])
    with pytest.raises(LoadError, match=rf"node 'n_y' \({op}\)"):
        load(made, tmp_path)


def test_a_convolution_with_a_bias_of_the_wrong_shape_is_named(tmp_path: Path) -> None:
    made = model(node("Conv", "x w b", "y"), dims=("n", 2, 5, 5), w=rand(3, 2, 3, 3), b=rand(2))
    with pytest.raises(LoadError, match=r"bias of shape \(2,\) for 3 outputs"):
        load(made, tmp_path)


def sparse(values: list[float], indices: list[Any], dims: list[int]) -> onnx.SparseTensorProto:
    return helper.make_sparse_tensor(
        numpy_helper.from_array(np.array(values, np.float32), "w"),
        numpy_helper.from_array(np.array(indices, np.int64), "w_places"),
        dims,
    )


@pytest.mark.parametrize("indices", [[1, 10], [[0, 1], [3, 1]]])
def test_sparse_weights_are_read(indices: list[Any], tmp_path: Path) -> None:
    made = model(node("MatMul", "x w", "y"))
    made.graph.sparse_initializer.append(sparse([2.0, -3.0], indices, [4, 3]))
    graph = load(made, tmp_path)
    wanted = np.zeros((4, 3), np.float32)
    wanted[0, 1], wanted[3, 1] = 2, -3
    assert np.array_equal(graph.tensors["w"].numpy().T, wanted)


@pytest.mark.parametrize(
    ("indices", "dims"),
    [([1, 12], [4, 3]), ([-1, 2], [4, 3]), ([[0, 1], [4, 1]], [4, 3]), ([1], [4, 3]),
     ([1, 2], [2**40, 3]), ([1, 2], [-4, 3])],
)  # fmt: skip
def test_damaged_sparse_weights_are_refused(
    indices: list[Any], dims: list[int], tmp_path: Path
) -> None:
    made = model(node("MatMul", "x w", "y"))
    made.graph.sparse_initializer.append(sparse([2.0, -3.0], indices, dims))
    with pytest.raises(LoadError, match="tensor 'w'"):
        load(made, tmp_path)


def test_a_fixed_batch_of_a_million_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="fixes its batch at 1000000") as caught:
        load(model(node("Relu", "x", "y"), dims=(10**6, 4)), tmp_path)
    assert "batch axis free" in caught.value.hint


def test_names_of_any_length_are_shortened_and_stay_apart(tmp_path: Path) -> None:
    names = ["n" * 5000, "n" * 4999]
    made = model(
        node("Relu", "x", "a", name=names[0]), node("MatMul", "a w", "b", name=names[1]),
        node("Relu", "b", "y", name="\t" + names[0]), w=rand(4, 4),
    )  # fmt: skip
    graph = load(made, tmp_path)
    assert max(len(n.name) for n in graph.nodes) < 130
    assert len({n.name for n in graph.nodes}) == 4
    same(graph, tmp_path / "m.onnx")
    made.graph.node[1].op_type = "N" * 5000
    with pytest.raises((LoadError, UnsupportedError)) as caught:
        load(made, tmp_path)
    assert len(str(caught.value)) < 1500


def test_paths_that_are_no_text_are_read_and_shown(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    path = save(small(), folder)
    same(load_onnx(path), path)
    with pytest.raises(LoadError) as caught:
        load_onnx(folder / "missing.onnx")
    str(caught.value).encode()
    with pytest.raises(LoadError, match="cannot be read"):
        load_onnx(tmp_path / "nul\0.onnx")


def test_pipes_and_endless_files_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(LoadError, match="no file"):
        load_onnx(tmp_path / "pipe.onnx")
    with (tmp_path / "large.onnx").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(LoadError, match="2 GiB"):
        onnx_reference(tmp_path / "large.onnx")


def test_a_name_without_end_is_not_repeated_in_full(tmp_path: Path) -> None:
    lost = model(node("Relu", "x", "y"))
    lost.graph.output[0].name = "n" * 5000
    path = tmp_path / "m.onnx"
    onnx.save(lost, path)
    with pytest.raises(LoadError) as caught:
        onnx_reference(path)
    assert len(str(caught.value)) < 1000
    assert str(LoadError("a " + "n" * 5000)) == "a " + "n" * 200 + "..." + "n" * 20


def test_a_branch_of_another_domain_without_a_condition_is_refused(tmp_path: Path) -> None:
    made = model(node("If", "x", "y", domain="own"))
    del made.graph.node[0].input[:]
    made.opset_import.append(helper.make_opsetid("own", 1))
    with pytest.raises(LoadError, match="does not depend on the input"):
        load(made, tmp_path)
