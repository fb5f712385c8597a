"""Windows of pooling and convolution: any padding, stride and rounding, against ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from convsnn.errors import LoadError
from convsnn.graph import run
from convsnn.load.onnx import load_onnx, onnx_reference

fuzz = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
WEIGHT = np.random.default_rng(0).normal(size=(2, 2, 3)).astype(np.float32)


def agree(
    path: Path, op: str, shape: tuple[int, ...], opset: int, attrs: dict[str, Any],
    inputs: tuple[str, ...] = ("x",), **constants: np.ndarray,
) -> None:  # fmt: skip
    """The import equals ONNX Runtime or names the node; what the latter refuses is not judged."""
    graph = helper.make_graph(
        [helper.make_node(op, inputs, ["y"], name="node", **attrs)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())
    x = torch.from_numpy(np.random.default_rng(1).normal(size=(2, *shape))).float()
    try:
        expected = onnx_reference(path)(x)[0]
    except LoadError:
        return
    if not expected.numel():
        return
    imported = load_onnx(path)
    if not imported.blockers():
        torch.testing.assert_close(
            run(imported, x)[imported.outputs[0]], expected, rtol=1e-4, atol=1e-5
        )


small = st.integers(0, 3)
automatic = st.sampled_from(["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"])


@fuzz
@given(
    op=st.sampled_from(["MaxPool", "AveragePool"]), opset=st.sampled_from([11, 17, 19, 22]),
    length=st.integers(1, 12), kernel=st.integers(1, 4), stride=st.integers(1, 4),
    begin=small, end=small, ceil=st.booleans(), include=st.booleans(), auto=automatic,
)  # fmt: skip
def test_pooling_windows(
    op: str, opset: int, length: int, kernel: int, stride: int, begin: int, end: int, ceil: bool,
    include: bool, auto: str, tmp_path: Path,
) -> None:  # fmt: skip
    kernel = min(kernel, length)  # ONNX Runtime makes up an output where no window fits
    attrs: dict[str, Any] = {"kernel_shape": [kernel], "strides": [stride], "ceil_mode": int(ceil)}
    if auto == "NOTSET":
        attrs["pads"] = [min(begin, kernel - 1), min(end, kernel - 1)]
    else:
        attrs["auto_pad"] = auto
    if op == "AveragePool":
        attrs["count_include_pad"] = int(include)
    agree(tmp_path / "m.onnx", op, (2, length), opset, attrs)


@fuzz
@given(
    op=st.sampled_from(["Conv", "ConvTranspose"]), length=st.integers(1, 12),
    stride=st.integers(1, 4), dilation=st.integers(1, 3), begin=small, end=small, extra=small,
    auto=automatic,
)  # fmt: skip
def test_convolution_windows(
    op: str, length: int, stride: int, dilation: int, begin: int, end: int, extra: int, auto: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    attrs: dict[str, Any] = {"strides": [stride], "dilations": [dilation]}
    if auto == "NOTSET":
        attrs["pads"] = [begin, end]
    else:
        attrs["auto_pad"] = auto
    if op == "ConvTranspose":
        attrs["output_padding"] = [min(extra, stride - 1)]
    agree(tmp_path / "m.onnx", op, (2, length), 17, attrs, ("x", "w"), w=WEIGHT)


@fuzz
@given(
    length=st.integers(1, 6), size=st.integers(1, 13),
    mode=st.sampled_from(["nearest", "linear", "cubic"]),
    coefficient=st.sampled_from([-0.75, -0.5]),
    transform=st.sampled_from(["half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"]),
    rounding=st.sampled_from(["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]),
    scale=st.sampled_from([None, 0.5, 0.7, 1.0, 1.5, 2.0, 2.6, 3.0]),
)  # fmt: skip
def test_resizing(
    length: int, size: int, mode: str, coefficient: float, transform: str, rounding: str,
    scale: float | None, tmp_path: Path,
) -> None:  # fmt: skip
    attrs: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": transform}
    if mode == "nearest":
        attrs["nearest_mode"] = rounding
    if mode == "cubic":
        attrs["cubic_coeff_a"] = coefficient
    shape, path = (2, length, 4), tmp_path / "m.onnx"
    if scale is None:
        attrs["axes"] = [2, 3]
        agree(path, "Resize", shape, 18, attrs, ("x", "", "", "n"), n=np.array([size, 8]))
    elif int(length * scale):
        scales = np.array([1, 1, scale, 2], dtype=np.float32)
        agree(path, "Resize", shape, 17, attrs, ("x", "", "s"), s=scales)
