"""Convolutions run as fully connected layers against the convolutions they replace."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convsnn.graph import Node
from convsnn.load import load_module
from convsnn.simulate import Engine, dense, simulate
from convsnn.simulate.weighted import float_kernel, int8_available, integer_kernel, most_spikes
from convsnn.spiking.network import to_spiking
from convsnn.spiking.plan import Plan, SitePlan

SEEDS = st.integers(0, 2**32 - 1)


def layer(seed: int) -> tuple[Node, torch.Tensor, torch.Tensor, tuple[int, ...]]:
    """A convolution of small whole numbers on images with no more positions than it has taps."""
    rng = np.random.default_rng(seed)
    size = rng.integers(1, 4, 2)
    kernel = np.maximum(size + rng.integers(0, 2, 2), 2)
    stride, padding = rng.integers(1, 3, 2).tolist(), rng.integers(0, 2, 4).tolist()
    short = [max(0, int(k - n)) for k, n in zip(kernel, size, strict=True)]
    padding[2:] = [p + s for p, s in zip(padding[2:], short, strict=True)]
    attrs = {"stride": stride, "padding": padding, "dilation": [1, 1], "groups": 1}
    weight = torch.from_numpy(rng.integers(-9, 10, (5, 3, *kernel))).float()
    x = torch.from_numpy(rng.integers(0, 3, (4, 3, *size))).to(torch.uint8)
    return Node("c", "conv", ("x", "w"), attrs), weight, x, (3, *size.tolist())


@settings(max_examples=60)
@given(seed=SEEDS)
def test_a_small_map_through_a_matrix_is_the_convolution(seed: int) -> None:
    node, weight, x, shape = layer(seed)
    bias = torch.arange(5.0)
    wanted = float_kernel(node, weight, bias, torch.float32, None)(x)
    assert dense.as_matrix(node, weight, shape) is not None
    assert torch.equal(float_kernel(node, weight, bias, torch.float32, shape)(x), wanted)
    if int8_available():
        got = integer_kernel(node, weight, shape)(x)
        assert torch.equal(got, wanted - bias.reshape(-1, 1, 1))


@pytest.mark.skipif(not int8_available(), reason="torch has no integer layers here")
@pytest.mark.parametrize("turned", [False, True])  # how the weight lies in memory
@pytest.mark.parametrize("shape", [(7, 30), (4, 3, 30)])
def test_layers_are_the_sums_of_their_products(shape: tuple[int, ...], turned: bool) -> None:
    rng = np.random.default_rng(len(shape))
    weight = torch.from_numpy(rng.integers(-127, 128, (11, 30))).float()
    x = torch.from_numpy(rng.integers(0, most_spikes() + 1, shape)).to(torch.uint8)
    weight = weight.T.contiguous().T if turned else weight
    wanted = x.float() @ weight.T
    assert torch.equal(dense.integer_linear(weight)(x), wanted)
    assert torch.equal(dense.float_linear(weight, None)(x.float()), wanted)


def test_a_matrix_that_would_be_more_work_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node("c", "conv", ("x", "w"), {"stride": [1, 1], "padding": [1] * 4, "dilation": [1, 1]})
    weight = torch.ones(2, 2, 3, 3)
    assert dense.as_matrix(node, weight, (2, 3, 3)) is not None
    assert dense.as_matrix(node, weight, (2, 4, 3)) is None
    grouped = Node("c", "conv", ("x", "w"), {**node.attrs, "groups": 2})
    assert dense.as_matrix(grouped, torch.ones(2, 1, 3, 3), (2, 3, 3)) is None
    monkeypatch.setattr(dense, "LARGEST", 2 * 9 * 2 * 9 - 1)
    assert dense.as_matrix(node, weight, (2, 3, 3)) is None


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_a_network_is_the_same_with_and_without_matrices(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(),
        nn.Conv2d(6, 4, 3, padding=1, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(4, 3),
    ).eval()  # fmt: skip
    for part in module:
        for value in part.parameters():  # every sum is exact
            value.data = torch.round(value.data * 16) / 16
    graph = load_module(module, torch.randn(2, 2, 2, 2))
    sites = {name: SitePlan(torch.tensor(0.5), torch.tensor(0.25)) for name in graph.sites}
    net = to_spiking(graph, Plan(sites))
    x = torch.round(torch.randn(5, 2, 2, 2) * 8) / 8
    engine = Engine(precision, weight_bits=8 if precision == "int8" else None)  # type: ignore[arg-type]
    got = simulate(net, x, steps=12, engine=engine)
    monkeypatch.setattr(dense, "LARGEST", 0)
    wanted = simulate(net, x, steps=12, engine=engine)
    assert all(torch.equal(got.spikes[name], wanted.spikes[name]) for name in wanted.spikes)
    assert any(bool(count.any()) for count in wanted.spikes.values())
    torch.testing.assert_close(got.outputs, wanted.outputs)
