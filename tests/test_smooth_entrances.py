"""Functions, norms, attention and gates through both entrances, held against their originals."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from convsnn.errors import ConvsnnError, LoadError, UnsupportedError
from convsnn.graph import Graph
from convsnn.load import load_module, load_onnx, onnx_reference
from convsnn.load.verify import module_reference, verify_import
from convsnn.simulate import simulate
from convsnn.workflows.convert.network import convert
from zoo.models import MODELS


class Of(nn.Module):
    """A linear layer, a function of what it gives, and another linear layer."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.first, self.last, self.function = nn.Linear(6, 8), nn.Linear(8, 3), function

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(self.first(x)))


def rms(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


def gate(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x.mean(1, keepdim=True) @ torch.eye(8))


def attend(x: Tensor) -> Tensor:
    q, k, v = x, x.roll(1, -1), x.flip(-1)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def masked(x: Tensor) -> Tensor:
    scores = (x @ x.transpose(1, 2)).masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf)
    return scores.softmax(-1) @ x


def windows(x: Tensor) -> Tensor:
    """Attention within windows of the (5, 8) values, folded into the batch, as Swin writes it."""
    parts = x.view(x.shape[0], 5, 2, 4).permute(0, 2, 1, 3).reshape(-1, 5, 4)
    three = torch.cat([parts, parts.tanh(), -parts], -1).reshape(parts.shape[0], 5, 3, 2, 2)
    q, k, v = three.permute(2, 0, 3, 1, 4).unbind(0)
    mixed = (q @ k.transpose(-2, -1)).softmax(-1) @ v
    mixed = mixed.transpose(1, 2).reshape(-1, 5, 4)
    return mixed.view(-1, 2, 5, 4).permute(0, 2, 1, 3).reshape(x.shape[0], 5, 8)


class ClassToken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        return x + self.attention(x, x, x, need_weights=False)[0]


FUNCTIONS: dict[str, Any] = {
    "gelu": nn.GELU(), "gelu tanh": nn.GELU("tanh"), "silu": nn.SiLU(), "mish": nn.Mish(),
    "hardswish": nn.Hardswish(), "hardsigmoid": nn.Hardsigmoid(), "elu": nn.ELU(0.7),
    "selu": nn.SELU(), "celu": nn.CELU(0.6), "softplus": nn.Softplus(2, 3), "tanh": nn.Tanh(),
    "sigmoid": nn.Sequential(nn.Sigmoid(), nn.Linear(8, 8), nn.Tanh()),
    "softmax": nn.Sequential(nn.Softmax(-1), nn.Linear(8, 8), nn.Tanh()),
    "log sigmoid": nn.LogSigmoid(),
    "layer norm": nn.LayerNorm(8), "layer norm of all": nn.LayerNorm((5, 8)),
    "rms norm": nn.RMSNorm(8), "rms written out": rms, "group norm": nn.GroupNorm(5, 5),
    "instance norm": nn.InstanceNorm1d(5), "length": lambda x: F.normalize(x, dim=-1),
    "quotient": lambda x: x / (1 + x.abs()), "square": lambda x: x * x, "glu": lambda x: torch.cat(
        [F.glu(x), F.glu(x)], -1), "variance": lambda x: x - x.var(-1, keepdim=True),
    "gate": gate, "attention": attend, "mask": masked, "windows": windows,
    "class token": ClassToken(), "minimum": lambda x: torch.minimum(x, x.flip(-1)),
    "outer": lambda x: torch.einsum("bnc,bmc->bnm", x, x) @ x,
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_module_enters_as_it_is(name: str) -> None:
    torch.manual_seed(0)
    module = Of(FUNCTIONS[name]).eval()
    x = torch.randn(3, 5, 6)
    graph = load_module(module, x)
    graph.require_convertible()
    verify_import(graph, module_reference(module), torch.randn(4, 5, 6))
    assert graph.smooth


def test_converted_it_follows_its_original() -> None:
    torch.manual_seed(0)
    module = Of(nn.Sequential(ClassToken(), nn.LayerNorm(8), nn.Linear(8, 8), nn.GELU())).eval()
    x = torch.randn(16, 5, 6)
    net = convert(module, x[:4], [x], [], steps=16)
    with torch.no_grad():
        wanted = module(x)
    answer = simulate(net, x, steps=16).outputs[0][-1]
    assert float((answer - wanted).norm() / wanted.norm()) < 0.02


def test_a_mask_that_hides_everything_is_refused() -> None:
    def nothing(x: Tensor) -> Tensor:
        return (x @ x.transpose(1, 2)).masked_fill(torch.ones(5, 5).bool(), -torch.inf).softmax(-1)

    graph = load_module(nn.Sequential(Of(lambda x: nothing(x) @ x)), torch.randn(2, 5, 6))
    with pytest.raises(UnsupportedError) as refused:
        graph.require_convertible()
    assert "hides everything" in refused.value.items[0].reason


def test_what_draws_or_chooses_by_the_data_is_refused() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.GRU(8, 8, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x)[0]

    for inner in (lambda x: x + torch.randn_like(x), Recurrent()):
        with pytest.raises(ConvsnnError):
            load_module(Of(inner).eval(), torch.randn(2, 5, 6)).require_convertible()


def chain(*nodes: tuple[Any, ...], constants: dict[str, Any], opset: int, path: Path) -> Path:
    """An ONNX file of nodes (op, inputs, output, attributes) from x (B, 5, 8) to y."""
    made = [
        helper.make_node(op, inputs.split(), [output], name=f"{op}_{output}", **(rest or [{}])[0])
        for op, inputs, output, *rest in nodes
    ]
    graph = helper.make_graph(
        made,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 5, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = min(model.ir_version, 10)
    onnx.save(model, path)
    return path


W = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
ONE = np.float32(1)
HIDES = np.where(np.tri(5, dtype=np.int8), np.float32(0), np.float32(-np.inf))
CASES: dict[str, tuple[int, list[tuple[Any, ...]], dict[str, Any]]] = {
    "gelu by erf": (13, [
        ("Div", "m r", "a"), ("Erf", "a", "b"), ("Add", "b one", "c"), ("Mul", "m c", "d"),
        ("Mul", "d half", "f"),
    ], {"r": np.float32(2**0.5), "one": ONE, "half": np.float32(0.5)}),
    "gelu": (20, [("Gelu", "m", "f", {"approximate": "tanh"})], {}),
    "layer norm written out": (13, [
        ("ReduceMean", "m", "mean", {"axes": [-1]}), ("Sub", "m mean", "c"), ("Pow", "c two", "s"),
        ("ReduceMean", "s", "v1", {"axes": [-1]}), ("Add", "v1 e", "w2"), ("Sqrt", "w2", "d"),
        ("Div", "c d", "f"),
    ], {"two": np.float32(2), "e": np.float32(1e-5)}),
    "layer norm": (17, [("LayerNormalization", "m g h", "f", {"axis": -1})],
                   {"g": W[0] + 2, "h": W[1]}),
    "instance norm": (13, [("InstanceNormalization", "m g5 h5", "f")],
                      {"g5": W[0, :5] + 2, "h5": W[1, :5]}),
    "lengths": (13, [("LpNormalization", "m", "f", {"axis": -1})], {}),
    "silu": (13, [("Sigmoid", "m", "s"), ("Mul", "s m", "f")], {}),
    "hard swish": (14, [("HardSwish", "m", "f")], {}),
    "hard sigmoid": (13, [("HardSigmoid", "m", "s"), ("Mul", "m s", "f")], {}),
    "elus": (13, [("Elu", "m", "a", {"alpha": 0.5}), ("Selu", "a", "b"),
                  ("Celu", "b", "f", {"alpha": 0.7})], {}),
    "softplus": (13, [("Softplus", "m", "a"), ("Tanh", "a", "b"), ("Softsign", "b", "f")], {}),
    "mish": (18, [("Mish", "m", "f")], {}),
    "attention": (13, [
        ("Transpose", "m", "t", {"perm": [0, 2, 1]}), ("MatMul", "m t", "q"),
        ("Add", "q mask", "k"), ("Softmax", "k", "p"), ("IsNaN", "p", "nan"),
        ("Where", "nan zero p", "o"), ("MatMul", "o m", "f"),
    ], {"mask": HIDES, "zero": np.float32(0)}),
    "parts of the batch": (13, [
        ("Reshape", "m split", "a"), ("Softmax", "a", "b"), ("Transpose", "b", "c",
         {"perm": [0, 2, 1]}), ("MatMul", "a c", "d"), ("MatMul", "d a", "g2"),
        ("Reshape", "g2 back", "f"),
    ], {"split": np.array([-1, 5, 4]), "back": np.array([-1, 5, 8])}),
    "a gate": (13, [
        ("ReduceMean", "m", "a", {"axes": [1]}), ("MatMul", "a w2", "b"), ("Sigmoid", "b", "c"),
        ("Mul", "m c", "f"),
    ], {"w2": W.T.copy()}),
    "local response": (13, [
        ("Reshape", "m wide", "a"), ("LRN", "a", "b", {"size": 3, "alpha": 0.5, "bias": 2.0}),
        ("Reshape", "b back", "f"),
    ], {"wide": np.array([0, 5, 2, 4]), "back": np.array([0, 5, 8])}),
    "einsum": (13, [("Einsum", "m m", "a", {"equation": "bnc,bmc->bmn"}),
                    ("MatMul", "a m", "f")], {}),
    "quotient": (13, [("Exp", "m", "a"), ("Add", "a one", "b"), ("Div", "m b", "c"),
                      ("Reciprocal", "b", "d"), ("Mul", "c d", "f")], {"one": ONE}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_file_enters_as_onnx_runtime_runs_it(name: str, tmp_path: Path) -> None:
    opset, nodes, constants = CASES[name]
    whole = [("MatMul", "x w", "m"), *nodes, ("MatMul", "f v", "y")]
    path = chain(
        *whole, constants={"w": W, "v": W[::-1].copy(), **constants}, opset=opset,
        path=tmp_path / "m.onnx",
    )  # fmt: skip
    graph = load_onnx(path)
    graph.require_convertible()
    assert graph.smooth
    verify_import(graph, onnx_reference(path), torch.randn(3, 5, 8))


def test_attention_as_one_op(tmp_path: Path) -> None:
    path = chain(
        ("MatMul", "x w", "m"), ("Attention", "m m m", "y", {"q_num_heads": 2, "kv_num_heads": 2}),
        constants={"w": W}, opset=23, path=tmp_path / "m.onnx",
    )  # fmt: skip
    graph = load_onnx(path)
    x = torch.randn(3, 5, 8)
    heads = (x @ torch.from_numpy(W)).unflatten(2, (2, 4)).transpose(1, 2)
    wanted = F.scaled_dot_product_attention(heads, heads, heads).transpose(1, 2).flatten(2)
    verify_import(graph, lambda _: [wanted], x)


def test_newer_ops_that_the_runtime_may_not_know(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(3, 5, 8), torch.from_numpy(W)
    for nodes, opset, wanted in (
        (
            [("RMSNormalization", "m g", "y")],
            23,
            lambda m: F.rms_norm(m, (8,), weight[0] + 2, 1e-5),
        ),
        ([("Swish", "m", "y", {"alpha": 1.5})], 24, lambda m: m * torch.sigmoid(1.5 * m)),
    ):
        path = chain(
            ("MatMul", "x w", "m"), *nodes, constants={"w": W, "g": W[0] + 2}, opset=opset,
            path=tmp_path / f"{opset}.onnx",
        )  # fmt: skip
        verify_import(load_onnx(path), lambda x, wanted=wanted: [wanted(x @ weight)], x)


def test_a_file_whose_mask_hides_everything_is_refused(tmp_path: Path) -> None:
    hides = np.full((5, 5), -np.inf, np.float32)
    path = chain(
        ("MatMul", "x w", "m"), ("Transpose", "m", "t", {"perm": [0, 2, 1]}),
        ("MatMul", "m t", "q"), ("Add", "q mask", "k"), ("Softmax", "k", "p"),
        ("MatMul", "p m", "y"), constants={"w": W, "mask": hides}, opset=13,
        path=tmp_path / "m.onnx",
    )  # fmt: skip
    with pytest.raises((UnsupportedError, LoadError)) as refused:
        load_onnx(path).require_convertible()
    items = getattr(refused.value, "items", ())
    assert "hides everything" in (items[0].reason if items else str(refused.value))


SMOOTH = ("mnist5k-vit", "mnist5k-convnext", "mnist5k-mobilenet")


@pytest.mark.parametrize("name", SMOOTH)
def test_the_zoos_files_are_its_modules(name: str) -> None:
    entry = MODELS.create(name)
    assert entry.weights_path is not None
    path, x = entry.weights_path.with_suffix(".onnx"), torch.randn(2, *entry.input_shape)
    module = entry.module()
    for graph in (load_module(module, x), load_onnx(path)):
        assert isinstance(graph, Graph)
        verify_import(graph, module_reference(module), x)
    assert entry.weights_path.stat().st_size < 2**20
    assert path.stat().st_size < 2**20


@pytest.mark.parametrize("name", SMOOTH)
def test_the_zoos_smooth_networks_answer_like_their_originals(name: str) -> None:
    entry = MODELS.create(name)
    from zoo.data import open_data

    opened = open_data("mnist5k", input_shape=(1, 28, 28), preprocessing=entry.preprocessing)
    images, _ = next(opened.train.batches(48))
    shown, _ = next(opened.test.batches(24))
    module = entry.module()
    net = convert(module, images[:2], [images], [], steps=8) if name != SMOOTH[2] else None
    if net is None:  # it has rectifiers beside
        from calibrate import parse_stages

        net = convert(module, images[:2], [images], parse_stages("mse"), steps=16)
    steps = 8 if name != SMOOTH[2] else 16
    answers = simulate(net, shown, steps=steps, count=False).outputs[0][-1]
    with torch.no_grad():
        assert bool((answers.argmax(1) == module(shown).argmax(1)).double().mean() >= 23 / 24)
