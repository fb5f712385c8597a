"""Functions, products and neurons that code values, in ONNX: ONNX Runtime is the judge."""

import math
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from test_smooth import ATTRS, ROWS, TWO, images, network
from torch import Tensor

from calibrate import parse_stages
from convsnn.errors import ExportError, UnsupportedError
from convsnn.export.onnx import onnx_model
from convsnn.export.onnx.counts import count
from convsnn.export.onnx.emitter import Emitter
from convsnn.export.onnx.ops import write
from convsnn.graph import Node
from convsnn.graph.ops import OPS
from convsnn.neurons.levels import Levels
from convsnn.simulate import simulate
from convsnn.spiking.network import Spiking
from convsnn.workflows.convert.network import convert

MORE: list[tuple[str, dict[str, Any]]] = [
    ("gelu", {"approximate": "tanh"}),
    ("silu", {"alpha": 1.702}),
    ("hard_sigmoid", {"alpha": 0.2, "beta": 0.4}),
    ("elu", {"alpha": 1.67, "scale": 1.05, "inner": 0.5}),
    ("softplus", {"beta": 2.0, "threshold": 1.0}),
    ("vector_norm", {"dims": [1, 2], "order": 1.0}),
    ("vector_norm", {"dims": [1], "order": math.inf}),
    ("power", {"exponent": 3.0}),
    ("bound", {"low": -0.3, "high": 0.7}),
    *(("elementary", {"kind": kind}) for kind in ("abs", "exp", "cos", "sin")),
]


def made(ops: list[str], schedule: str = "layers") -> Spiking:
    """A network of functions, converted for six steps, in float32."""
    stages = parse_stages("max")
    net = convert(network(ops), images(4), [images(16)], stages, steps=6, schedule=schedule)
    return net.to(torch.float32)


def written(emit: Emitter, node: Node) -> str:
    """The name of the value of `node`, whose inputs are the graph's."""
    return write(emit, network(["gelu"]), node, list(node.inputs))


def ran(emit: Emitter, value: str, given_: dict[str, Tensor]) -> Tensor:
    """What ONNX Runtime makes of the graph up to `value`."""
    kind = 11 if emit.is_double else 1
    emit.publish(value, "y")
    graph = emit.graph(
        "one",
        [helper.make_tensor_value_info(name, kind, list(x.shape)) for name, x in given_.items()],
        [helper.make_tensor_value_info("y", kind, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run(["y"], {name: x.numpy() for name, x in given_.items()})
    return torch.from_numpy(found)


@pytest.mark.parametrize(
    ("name", "attrs"), [*((n, ATTRS.get(n, {})) for n in ROWS), *MORE],
    ids=lambda part: part if isinstance(part, str) else "-".join(map(str, part.values())),
)  # fmt: skip
def test_every_function_is_what_torch_computes(name: str, attrs: dict[str, Any]) -> None:
    x = 2 * torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(1))
    values = {"a": x.abs() + 0.1 if name == "quotient" else x}
    if name in TWO:
        values["b"] = x.flip(0).abs() + 0.1
    node = Node("here", name, tuple(values), attrs)
    emit = Emitter(torch.float32, frozenset({"a", "b", "y"}))
    got = ran(emit, written(emit, node), values)
    wanted = OPS[name].run(*values.values(), **attrs)
    torch.testing.assert_close(got, wanted, rtol=2e-5, atol=2e-6)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 12),
    steps=st.integers(1, 12),
    seed=st.integers(0, 1000),
    rectified=st.booleans(),
)
def test_levels_send_what_they_send_here(n: int, steps: int, seed: int, rectified: bool) -> None:
    total = steps * torch.randn(2, 60, generator=torch.Generator().manual_seed(seed)).double()
    total[0, 0] = math.nan
    slope = None if rectified else torch.ones(())
    neuron = Levels(torch.tensor(0.7), torch.tensor(0.1), slope=slope, n=n)
    emit = Emitter(torch.float64, frozenset({"total", "steps", "y"}))
    given_ = {"total": total, "steps": torch.tensor(float(steps)).double()}
    got = ran(emit, count(neuron)(emit, "total", "steps"), given_)
    torch.testing.assert_close(got, neuron.count(total, steps), rtol=0, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize(
    "ops",
    [
        ["relu", "gelu", "linear", "layer_norm"],
        ["matmul", "softmax_inside", "matmul", "add", "rms_norm", "linear", "silu"],
        ["hard_swish", "multiply", "linear", "relu", "mish"],
    ],
    ids=lambda ops: ops[0],
)
def test_a_network_with_functions_answers_the_same_in_one_pass(ops: list[str]) -> None:
    net = made(ops)
    x = images(5).float()
    wanted = simulate(net, x, steps=6).outputs[0][-1]
    session = onnxruntime.InferenceSession(onnx_model(net).SerializeToString())
    given_ = {"x": x.numpy(), "timesteps": np.array(6, dtype=np.int64)}
    (got,) = session.run(["logits"], given_)
    torch.testing.assert_close(torch.from_numpy(got), wanted, rtol=1e-4, atol=1e-4)


def test_what_cannot_be_written_is_said() -> None:
    net = made(["gelu", "linear"])
    coded = next(name for name, neuron in net.neurons.items() if isinstance(neuron, Levels))
    with pytest.raises(ExportError, match=f"{coded}.*differ in size") as refused:
        onnx_model(net, spikes=True)
    assert refused.value.hint == "leave the spikes out"
    with pytest.raises(UnsupportedError, match="step by step") as stepwise:
        onnx_model(made(["gelu", "linear"], "steps"))
    assert "--schedule layers" in stepwise.value.hint
    odd = Node("here", "vector_norm", ("a",), {"dims": [1], "order": 3.0})
    with pytest.raises(ExportError, match=r"'here'.*order 3"):
        written(Emitter(torch.float32), odd)
    with pytest.raises(ExportError, match=r"'here'.*Erf in float64"):
        written(Emitter(torch.float64), Node("here", "gelu", ("a",)))
    with pytest.raises(ExportError, match="13 sizes"):
        count(Levels(torch.tensor(1.0), n=13))
