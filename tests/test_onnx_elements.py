"""Elements written over, added to and picked by constant indices, against ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from convsnn.errors import LoadError
from convsnn.graph import run
from convsnn.load.onnx import load_onnx, onnx_reference

SHAPE = (3, 4, 2)


def file(
    path: Path, op: str, index: np.ndarray, *, opset: int = 18, axis: int = 1, moving: str = "both",
    **attrs: str,
) -> Path:  # fmt: skip
    """`op` along an axis of x (B, 3, 4, 2), of its sine, or of constants; B is free where the file
    repeats the index for every sample."""
    table = np.random.default_rng(1).normal(size=(1, *SHAPE)).astype(np.float32)
    held = {
        "i": index, "table": table, "one": np.array([1]), "none": np.array([0]),
        "rest": np.array(index.shape[1:]), "whole": np.array(SHAPE),
        "begin": np.zeros(3, np.int64), "own": np.array([1, 2, 3]),
    }  # fmt: skip
    nodes = [
        ("Shape", "x", "all"), ("Slice", "all none one", "n"), ("Concat", "n rest", "size"),
        ("Expand", "i size", "index"), ("Sin", "x", "sine"), ("Concat", "n whole", "wide"),
        ("Expand", "table wide", "tables"), ("Slice", "sine begin rest own", "of_sine"),
        ("Slice", "tables begin rest own", "of_table"),
    ]  # fmt: skip
    data = "tables" if moving == "updates" else "x"
    updates = "of_table" if moving == "data" else "of_sine"
    last = f"{data} index" if op == "GatherElements" else f"{data} index {updates}"
    made = [
        helper.make_node(kind, inputs.split(), [out], **({"axis": 0} if kind == "Concat" else {}))
        for kind, inputs, out in nodes
    ]
    made.append(helper.make_node(op, last.split(), ["y"], name="node", axis=axis, **attrs))
    graph = helper.make_graph(
        made, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *SHAPE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v, k) for k, v in held.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    op=st.sampled_from(["ScatterElements", "ScatterElements", "GatherElements"]),
    axis=st.sampled_from([1, 2, 3, -1, -2]), moving=st.sampled_from(["both", "data", "updates"]),
    reduction=st.sampled_from(["none", "add"]), slices=st.booleans(), seed=st.integers(0, 999),
)  # fmt: skip
def test_elements_are_those_of_onnx_runtime(
    op: str, axis: int, moving: str, reduction: str, slices: bool, seed: int, tmp_path: Path
) -> None:
    draw = np.random.default_rng(seed)
    along, scatters = axis % 4 - 1, op == "ScatterElements"
    sizes = [n if slices else int(draw.integers(1, n + 1)) for n in SHAPE]
    sizes[along] = int(draw.integers(1, SHAPE[along] + 1))
    picked = [1 if slices and i != along else n for i, n in enumerate(sizes)]
    index = draw.integers(-SHAPE[along], SHAPE[along], picked)
    if reduction == "none" and scatters:  # written once each: some order of places
        places = draw.permuted(np.broadcast_to(np.arange(SHAPE[along]), (*picked, SHAPE[along])))
        order = np.argsort(draw.random(places.shape), -1)[..., : sizes[along]]
        index = np.moveaxis(order.take(0, along), -1, along)
    attrs = {"reduction": reduction} if scatters else {}
    path = file(
        tmp_path / "m.onnx", op, np.broadcast_to(index, sizes)[None], axis=axis,
        moving=moving if scatters else "both", **attrs,
    )  # fmt: skip
    graph, x = load_onnx(path), torch.randn(3, *SHAPE)
    assert not graph.blockers()
    expected = onnx_reference(path)(x)[0]
    torch.testing.assert_close(run(graph, x)[graph.outputs[0]], expected, rtol=1e-5, atol=1e-5)


def test_the_older_name_is_the_same(tmp_path: Path) -> None:
    index = np.array([2, 0]).reshape(1, 2, 1, 1).repeat(4, 2).repeat(2, 3)
    path, x = file(tmp_path / "m.onnx", "Scatter", index, opset=10), torch.randn(2, *SHAPE)
    graph = load_onnx(path)
    expected = onnx_reference(path)(x)[0]
    torch.testing.assert_close(run(graph, x)[graph.outputs[0]], expected)


@pytest.mark.parametrize(
    ("index", "axis", "attrs", "words"),
    [
        ([[0, 0]], 1, {}, "writes an element twice"),
        ([[0, 1]], 1, {"reduction": "mul"}, "the product of what was there"),
        ([[0, 3]], 1, {}, "outside the 3 of axis 1"),
        ([[0, 0]], 0, {}, "works along axis 0"),
    ],
)
def test_what_cannot_be_written_is_named(
    index: list[list[int]], axis: int, attrs: dict[str, str], words: str, tmp_path: Path
) -> None:
    own = np.array(index)[..., None, None]
    path = file(tmp_path / "m.onnx", "ScatterElements", own, axis=axis, **attrs)
    try:
        said = [item.reason for item in load_onnx(path).blockers()]
    except LoadError as error:
        said = [str(error)]
    assert len(said) == 1
    assert words in said[0]
