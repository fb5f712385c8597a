"""Windows, heads and written slices through both entrances, held against their originals."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from convsnn.errors import LoadError
from convsnn.load import load_module, load_onnx, onnx_reference
from convsnn.load.verify import module_reference, verify_import

Op = Callable[[nn.Module, Tensor], Tensor]


class Of(nn.Module):
    """A convolution of (B, 3, 6, 6), an op on what it gives, and a linear layer."""

    def __init__(self, op: Op) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.op = op
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.LazyLinear(2)
        self.conv, self.depthwise = nn.Conv2d(4, 6, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1, groups=4)
        self.norm, self.norm_of_all = nn.BatchNorm1d(4), nn.BatchNorm2d(4)
        self.token, self.table = nn.Parameter(torch.randn(1, 4, 6)), nn.Parameter(torch.randn(6, 6))
        self.deep = nn.Parameter(torch.randn(4, 5, 6))
        for norm in (self.norm, self.norm_of_all):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            nn.init.uniform_(norm.weight, 0.5, 2)
            nn.init.normal_(norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.op(self, self.first(x)).flatten(1))


def parts(x: Tensor) -> Tensor:
    """(B, C, 6, 6) as (B * 4, C, 3, 3): four windows of each sample, side by side on axis 0."""
    b, c = x.shape[:2]
    return x.view(b, c, 2, 3, 2, 3).permute(0, 2, 4, 1, 3, 5).reshape(-1, c, 3, 3)


def whole(x: Tensor) -> Tensor:
    return x.reshape(-1, 4, *x.shape[1:])


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def norm_of_tokens(m: nn.Module, x: Tensor) -> Tensor:
    return m.norm(tokens(x).flatten(0, 1)).reshape_as(tokens(x))


def written(_m: nn.Module, x: Tensor) -> Tensor:
    x = x.clone()
    x[:, 1:3] = x[:, 1:3] * 2 + 1
    x[:, :, 0] = x[:, :, 1].tanh()
    return x


def written_inside(_m: nn.Module, x: Tensor) -> Tensor:
    x = x.clone()
    x[:, :, 1:, 1:] = x[:, :, 1:, 1:] + x[:, :, :-1, :-1]
    return x


def heads_by_batch(m: nn.Module, x: Tensor) -> Tensor:
    """Heads run together with the batch before they are taken apart, as in SAM."""
    b, n, _ = tokens(x).shape
    three = torch.cat([tokens(x), tokens(x).tanh(), -tokens(x)], -1)
    three = three.view(b, n, 3, 2, 2).permute(2, 0, 3, 1, 4)
    q, k, v = three.reshape(3, b * 2, n, 2).unbind(0)
    bias = torch.einsum(
        "bhwc,wkc->bhwk", q.view(-1, 6, 6, 2), m.deep[0, 0].expand(6, 3, 6)[..., :2]
    )
    mixed = F.scaled_dot_product_attention(
        q, k, v, attn_mask=bias.sum(-1)[:, :, :1].reshape(-1, 6, 1).repeat(1, 6, n)
    )
    return mixed.view(b, 2, n, 2).transpose(1, 2).reshape(b, n, 4)


def global_query(_m: nn.Module, x: Tensor) -> Tensor:
    """One query for every window of a sample, as in GCViT."""
    shared = x.mean((2, 3)).unsqueeze(1).repeat_interleave(4, dim=0)
    inside = parts(x).flatten(2).transpose(1, 2)
    return whole((shared @ inside.transpose(1, 2)).softmax(-1) @ inside)


def pooled_by_attention(m: nn.Module, x: Tensor) -> Tensor:
    """A learned query asks all tokens, as SigLIP pools them."""
    q = m.token[:, :2, :4].unsqueeze(1).expand(x.shape[0], -1, -1, -1)
    return F.scaled_dot_product_attention(q, tokens(x).unsqueeze(1).tanh(), tokens(x).unsqueeze(1))


def shared_keys(_m: nn.Module, x: Tensor) -> Tensor:
    """Four heads of queries share two of keys and values."""
    q, k = x.flatten(2).unsqueeze(3).tanh(), x[:, ::2].flatten(2).unsqueeze(3)
    return F.scaled_dot_product_attention(q, k, k.sin(), enable_gqa=True)


OPS: dict[str, Op] = {
    "windows of an axis": lambda _m, x: x.unfold(2, 4, 2).unfold(3, 3, 3),
    "windows of windows": lambda _m, x: whole(parts(x).unfold(3, 2, 1)),
    "windows added up": lambda _m, x: F.fold(
        F.unfold(x, 3, 1, 1, 2).sin(), (6, 6), 3, padding=1, stride=2
    ),
    "norm of tokens": norm_of_tokens,
    "convolution of windows": lambda m, x: whole(m.norm_of_all(m.depthwise(parts(x))).tanh()),
    "dense convolution of windows": lambda m, x: whole(m.conv(parts(x))),
    "pools of windows": lambda _m, x: whole(F.avg_pool2d(F.max_pool2d(parts(x), 2, 1), 2)),
    "padded windows": lambda _m, x: whole(F.pad(parts(x), (1, 2, 0, 1))),
    "largest": lambda _m, x: x.amax(1) + x.max(2)[0][:, :1],
    "smallest": lambda _m, x: x.amin((1, 2)) + x.min(3)[0][:, 0],
    "written over": written,
    "written inside": written_inside,
    "table of the batch": lambda m, x: x + m.token.repeat(len(x), 1, 1).view(-1, 4, 6, 1),
    "einsum, a matrix for each index": lambda m, x: torch.einsum("bchw,cdw->bchd", x, m.deep),
    "einsum, elements": lambda m, x: torch.einsum("bchw,hw->bhc", x, m.table),
    "of another's type": lambda _m, x: x.type_as(x.tanh()),
    "clamp without bounds": lambda _m, x: x.clamp(-torch.inf, torch.inf).tanh(),
    "heads beside the batch": heads_by_batch,
    "directions of windows": lambda _m, x: whole(F.normalize(parts(x), dim=1)),
    "keys of several heads": shared_keys,
    "a learned query": pooled_by_attention,
    "a query for all windows": global_query,
}  # fmt: skip


@pytest.mark.parametrize("name", OPS)
def test_a_module_enters_as_it_computes(name: str) -> None:
    module = Of(OPS[name]).eval()
    x = torch.randn(3, 3, 6, 6)
    module(x)
    graph = load_module(module, x)
    assert not graph.blockers()
    verify_import(graph, module_reference(module), torch.randn(4, 3, 6, 6))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.LSTM(4, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x[:, :, 0, :2].transpose(1, 2))[0]


@pytest.mark.parametrize(
    ("op", "word"),
    [(Recurrent(), "recurrent"), (lambda x: x + torch.randn_like(x), "at random")],
)
def test_what_has_no_form_is_named(op: Callable[[Tensor], Tensor], word: str) -> None:
    module = Of(lambda _m, x: op(x))
    module(torch.randn(2, 3, 6, 6))
    items = load_module(module.eval(), torch.randn(2, 3, 6, 6)).blockers()
    assert any(word in item.reason for item in items)


W = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
KERNEL = np.linspace(-1, 1, 18, dtype=np.float32).reshape(1, 2, 3, 3)
FILES: dict[str, tuple[list[tuple[Any, ...]], dict[str, Any]]] = {
    "windows added up": (
        [("Reshape", "m apart", "a"), ("Col2Im", "a image block", "b", {"strides": [2, 1]}),
         ("Reshape", "b back", "f")],
        {"apart": [-1, 8, 5], "image": [2, 6], "block": [2, 2], "back": [-1, 3, 8]},
    ),
    "largest and smallest": (
        [("ReduceMax", "m", "a", {"axes": [2], "keepdims": 1}),
         ("ReduceMin", "m", "b", {"axes": [1], "keepdims": 0}), ("Unsqueeze", "b one", "c"),
         ("Add", "a c", "f")],
        {"one": [1]},
    ),
    "parts of samples": (
        [("Reshape", "m apart", "a"), ("Pad", "a edges", "b"), ("Conv", "b kernel", "c"),
         ("BatchNormalization", "c g h u v", "d"),
         ("MaxPool", "d", "e", {"kernel_shape": [1, 2]}), ("Reshape", "e back", "f")],
        {"apart": [-1, 2, 2, 2], "edges": [0, 0, 1, 1, 0, 0, 1, 2], "kernel": KERNEL,
         "g": W[0, :1] + 3, "h": W[1, :1], "u": W[2, :1], "v": W[3, :1] ** 2 + 1,
         "back": [-1, 5, 4]},
    ),
    "directions in parts of samples": (
        [("Reshape", "m apart", "a"), ("ReduceL2", "a", "b", {"axes": [2], "keepdims": 1}),
         ("Clip", "b least", "c"), ("Shape", "a", "s"), ("Expand", "c s", "d"),
         ("Expand", "b last", "e"), ("Div", "a d", "g"), ("Add", "g e", "h"),
         ("Reshape", "h back", "f")],
        {"apart": [-1, 2, 4], "least": np.float32(1e-3), "last": [2, 4], "back": [-1, 5, 8]},
    ),
    "a slice written over": (
        [("Transpose", "m", "a", {"perm": [1, 0, 2]}), ("Slice", "a s e", "b"),
         ("Tanh", "b", "c"), ("ScatterND", "a places c", "d"),
         ("Transpose", "d", "f", {"perm": [1, 0, 2]})],
        {"s": [1], "e": [3], "places": [[3], [0]]},
    ),
    "tokens before the batch": (
        [("Transpose", "m", "a", {"perm": [1, 0, 2]}), ("MatMul", "a w2", "b"),
         ("Add", "b bias", "c"), ("Reshape", "c heads", "d"),
         ("Transpose", "d", "e", {"perm": [1, 0, 2]}), ("Reshape", "e apart", "h"),
         ("Softmax", "h", "i"), ("Transpose", "i", "j", {"perm": [2, 0, 1, 3]}),
         ("Reshape", "j rows", "k"), ("Gemm", "k w2 bias", "l"), ("Reshape", "l again", "n"),
         ("Transpose", "n", "f", {"perm": [1, 0, 2]})],
        {"w2": W.T.copy(), "bias": W[0], "heads": [5, -1, 4], "apart": [-1, 2, 5, 4],
         "rows": [-1, 8], "again": [5, -1, 8]},
    ),
}  # fmt: skip


def written_file(path: Path, whole: list[tuple[Any, ...]], held: dict[str, Any]) -> Path:
    """A file of nodes `(op, inputs, output, attributes)` from x (B, 5, 8) to y."""
    made = [
        helper.make_node(op, inputs.split(), [output], name=f"{op}_{output}", **(rest or [{}])[0])
        for op, inputs, output, *rest in whole
    ]
    graph = helper.make_graph(
        made,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 5, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in held.items()],
    )
    opset = 18 if any(op == "Col2Im" for op, *_ in whole) else 13
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 9
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("name", FILES)
def test_a_file_enters_as_onnx_runtime_runs_it(name: str, tmp_path: Path) -> None:
    nodes, constants = FILES[name]
    whole = [("MatMul", "x w", "m"), *nodes, ("Tanh", "f", "y")]
    path = written_file(tmp_path / "m.onnx", whole, {"w": W, **constants})
    read = load_onnx(path)
    assert not read.blockers()
    verify_import(read, onnx_reference(path), torch.randn(3, 5, 8))


def test_where_the_batch_stays_away_the_node_that_moved_it_is_named(tmp_path: Path) -> None:
    nodes = [
        ("Transpose", "x", "a", {"perm": [1, 0, 2]}), ("Tanh", "a", "b"), ("Add", "b b", "c"),
        ("Split", "c", "d", {"axis": 2}), ("Slice", "d s e", "f"), ("Relu", "f", "y"),
    ]  # fmt: skip
    path = written_file(tmp_path / "m.onnx", nodes, {"s": [0], "e": [4]})
    with pytest.raises(LoadError, match="Transpose_a"):
        load_onnx(path)
