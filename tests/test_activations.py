"""ReLU and leaky ReLU in every spelling: as torch modules, and as the exporter writes them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import convsnn
from calibrate import parse_stages
from convsnn.graph import run
from convsnn.graph.ops import OPS
from convsnn.load import load_module, load_onnx, onnx_reference
from convsnn.spiking.kinds import refused_roles
from convsnn.workflows.convert.network import convert

ZERO = torch.zeros(())

# what the function is, the kind of site it becomes, its ceiling
SPELLINGS: dict[str, tuple[Callable[[Tensor], Tensor], str, float | None]] = {
    "relu6": (F.relu6, "clip", 6.0),
    "hardtanh": (lambda x: F.hardtanh(x, 0.0, 0.7), "clip", 0.7),
    "clamp to a range": (lambda x: x.clamp(min=0.0, max=0.7), "clip", 0.7),
    "clamp from below": (lambda x: x.clamp(min=0), "relu", None),
    "clamp between tensors": (lambda x: torch.clamp(x, ZERO, torch.tensor(0.7)), "clip", 0.7),
    "threshold": (lambda x: F.threshold(x, 0, 0), "relu", None),
    "maximum": (lambda x: torch.maximum(x, ZERO), "relu", None),
    "maximum from the left": (lambda x: torch.maximum(torch.tensor(0.0), x), "relu", None),
    "max with zeros": (lambda x: torch.max(x, torch.zeros_like(x)), "relu", None),
    "max with new zeros": (lambda x: torch.max(x, x.new_zeros(x.shape)), "relu", None),
    "product with a mask": (lambda x: x * (x > 0), "relu", None),
    "product with a real mask": (lambda x: (x >= 0).float() * x, "relu", None),
    "where": (lambda x: torch.where(x > 0, x, 0.0), "relu", None),
    "where with zeros": (lambda x: torch.where(x >= 0, x, torch.zeros_like(x)), "relu", None),
    "where, turned": (lambda x: torch.where(x <= 0, torch.zeros_like(x), x), "relu", None),
    "where, compared from the left": (
        lambda x: torch.where(torch.lt(ZERO, x), x, 0.0),
        "relu",
        None,
    ),
    "masked_fill": (lambda x: x.masked_fill(x < 0, 0.0), "relu", None),
    "minimum behind": (lambda x: torch.minimum(F.relu(x), torch.tensor(0.5)), "clip", 0.5),
    "minimum before": (lambda x: F.relu(x.clamp(max=0.5)), "clip", 0.5),
    "clamp_max": (lambda x: torch.clamp_max(F.relu6(x), 0.5), "clip", 0.5),
    "a slack minimum": (lambda x: F.relu6(x).clamp(max=9), "clip", 6.0),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.2), "leaky_relu", None),
    "leaky_relu of slope 0": (lambda x: F.leaky_relu(x, 0.0), "relu", None),
    "in-place leaky_relu": (lambda x: F.leaky_relu_(x, 0.2), "leaky_relu", None),
    "rrelu": (nn.RReLU(), "leaky_relu", None),
    "prelu of one slope": (nn.PReLU(), "leaky_relu", None),
    "prelu of a slope a channel": (nn.PReLU(4), "leaky_relu", None),
    "leaky by maximum": (lambda x: torch.maximum(x, 0.2 * x), "leaky_relu", None),
    "leaky by where": (lambda x: torch.where(x > 0, x, 0.2 * x), "leaky_relu", None),
    "leaky by where, turned": (lambda x: torch.where(x < 0, x * 3.0, x), "leaky_relu", None),
}


class Net(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.function, self.head = nn.Conv2d(3, 4, 3), function, nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.function(self.conv(x)).mean((2, 3)))


def net(function: Callable[[Tensor], Tensor]) -> Net:
    torch.manual_seed(0)
    return Net(function).eval()


X = torch.randn(3, 3, 6, 6, generator=torch.Generator().manual_seed(5)) * 2


@pytest.mark.parametrize("entrance", ["module", "onnx"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_one_site(spelling: str, entrance: str, tmp_path: Path) -> None:
    function, kind, ceiling = SPELLINGS[spelling]
    module = net(function)
    if entrance == "onnx":
        if spelling == "rrelu":
            pytest.skip("torch cannot write rrelu as ONNX")
        path = tmp_path / "m.onnx"
        shapes = ({0: torch.export.Dim("batch")},)
        torch.onnx.export(module, (X,), path, dynamic_shapes=shapes, verbose=False)
        graph, wanted = load_onnx(path), onnx_reference(path)(X)[0]
    else:
        graph, wanted = load_module(module, X), module(X).detach()
    assert not graph.blockers()
    (site,) = graph.sites.values()
    assert (site.kind, site.ceiling) == (kind, None if ceiling is None else pytest.approx(ceiling))
    torch.testing.assert_close(run(graph, X)[graph.outputs[0]], wanted, rtol=0, atol=1e-5)


OTHERS: dict[str, Callable[[Tensor], Tensor]] = {
    "a mask of another bound": lambda x: x * (x > 0.5),
    "a mask of another value": lambda x: x * (x.mean(1, keepdim=True) > 0),
    "the negative side": lambda x: x * (x < 0),
    "a step": lambda x: torch.where(x > 0, 1.0, 0.0),
    "another value below": lambda x: torch.where(x > 0, x, -1.0),
    "the smaller side": lambda x: torch.where(x < 0, x, 0.1 * x),
    "a steep maximum": lambda x: torch.maximum(x, 2 * x),
    "two values": lambda x: torch.maximum(x, x.mean(1, keepdim=True).expand_as(x)),
    "bounds of both signs": lambda x: x.clamp(-1, 1),
    "only an upper bound": lambda x: x.clamp(max=1),
    "an upper bound below zero": lambda x: F.relu(x).clamp(max=-1),
    "bounds that differ": lambda x: torch.maximum(x, torch.tensor([0.0, 0, 1, 0])[:, None, None]),
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_only_looks_like_one_is_refused(case: str) -> None:
    graph = load_module(net(OTHERS[case]), X)
    found = graph.blockers(refused_roles("binary"))  # some are functions, which no neuron is
    assert found
    assert not graph.sites or case == "an upper bound below zero"
    assert all(item.reason for item in found)


@given(x=st.integers(-64, 64), slope=st.integers(-8, 8))
def test_leaky_relu_is_its_definition(x: int, slope: int) -> None:
    got = OPS["leaky_relu"].run(torch.tensor([[x / 8]]), torch.tensor([[slope / 4]]))
    assert got.tolist() == [[x / 8 if x > 0 else x / 8 * slope / 4]]


def test_relu_in_pieces_converts_as_relu_does() -> None:
    pieces, plain = net(lambda x: x * (x > 0)), net(F.relu)
    nets = [convert(m, X, [X], parse_stages("max"), steps=8) for m in (pieces, plain)]
    outputs = [convsnn.simulate(n, X, steps=8).outputs[0] for n in nets]
    assert torch.equal(*outputs)
