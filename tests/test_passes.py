"""Exact passes: random graphs keep their output, the folds really happen, a wrong pass is caught.

Also the classical equivalence of weight normalisation and threshold balancing, to the last bit.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import Maker, dyadic_plan, images, random_graph, real
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from convsnn.errors import RewriteError
from convsnn.graph import Graph, Node, run
from convsnn.passes import EXACT, apply_exact
from convsnn.passes.batch_norm import fold_batch_norm
from convsnn.passes.edit import rebuild
from convsnn.passes.identity import remove_identities
from convsnn.passes.scales import merge_scales
from convsnn.simulate import simulate
from convsnn.spiking.network import to_spiking
from convsnn.spiking.plan import Plan, SitePlan

SEEDS = st.integers(0, 2**32 - 1)


def ops(graph: Graph) -> Counter[str]:
    """How often each op occurs."""
    return Counter(node.op for node in graph.nodes)


def normal(graph: Graph, seed: int, batch: int = 3) -> Tensor:
    return real(np.random.default_rng(seed), (batch, *graph.shapes[graph.input.name])) * 5


def gap(a: Graph, b: Graph, x: Tensor) -> float:
    """Largest difference of the outputs in units of their scale."""
    wanted, got = run(a, x)[a.outputs[0]], run(b, x)[b.outputs[0]]
    return float((got - wanted).abs().max() / wanted.abs().max().clamp(min=1e-3))


def constant(maker: Maker, x: str) -> str:
    """A positive or negative constant that is one number, one per channel, or one per element."""
    shape = maker.size(x)
    full = maker.pick((1,) * len(shape), (shape[0], *[1] * (len(shape) - 1)), shape)
    values = torch.from_numpy(maker.rng.uniform(0.5, 2, (1, *full))).float()
    return maker.tensor(values * maker.pick(-1.0, 1.0))


def permuted(maker: Maker, x: str) -> str:
    """Through a random order of the axes and back, with an activation on the way."""
    dims = [0, *(1 + int(i) for i in maker.rng.permutation(3))]
    back = sorted(range(4), key=dims.__getitem__)
    y = maker.activation(maker.emit("permute", x, dims=dims))
    return maker.emit("permute", y, dims=back)


def weighted(maker: Maker, x: str) -> str:
    channels = maker.size(x)[0]
    groups = maker.pick(1, channels)
    if maker.rng.random() < 0.3:
        return maker.conv_transpose(x, 2 * groups, stride=maker.pick(1, 2), groups=groups)
    return maker.conv(x, 2 * groups, maker.pick(1, 3), padding=maker.pick(0, 1), groups=groups)


STEPS: tuple[Callable[[Maker, str], str], ...] = (
    weighted,
    weighted,
    Maker.batch_norm,
    lambda m, x: m.emit("scale", x, constant(m, x)),
    lambda m, x: m.emit("add_constant", x, constant(m, x)),
    lambda m, x: m.emit("identity", x),
    Maker.activation,
    permuted,
    lambda m, x: m.avg_pool(x) if min(m.size(x)[1:]) > 2 else x,
    lambda m, x: m.max_pool(x) if min(m.size(x)[1:]) > 2 else x,
    lambda m, x: m.emit("add", x, m.emit("scale", x, constant(m, x))),
)


def affine_graph(seed: int) -> Graph:
    """A random chain of everything the passes look for."""
    rng = np.random.default_rng(seed)
    maker = Maker(rng, (int(rng.integers(1, 4)), 7, 6), exact=False)
    x = "input"
    for _ in range(int(rng.integers(3, 9))):
        step = maker.pick(*STEPS)
        if step is weighted and min(maker.size(x)[1:]) < 3:
            continue
        if maker.values[x].numel() < 4000:
            x = step(maker, x)
    x = maker.emit("permute", x, dims=maker.pick([0, 1, 2, 3], [0, 2, 3, 1]))
    x = maker.relu(maker.flatten(x))
    x = maker.emit("scale", x, constant(maker, x))
    return maker.graph(maker.batch_norm(maker.linear(x, 3)))


@settings(max_examples=25)
@given(seed=SEEDS)
def test_every_pass_keeps_the_output(seed: int) -> None:
    graph = affine_graph(seed)
    x = normal(graph, seed)
    for step in EXACT:
        assert gap(graph, step(graph), x) < 1e-4, step.__name__
    final = apply_exact(graph, x, EXACT)
    assert gap(graph, final, x) < 1e-4
    assert len(final.nodes) < len(graph.nodes)
    assert set(final.sites) == set(graph.sites)


@settings(max_examples=30)
@given(seed=SEEDS)
def test_passes_are_done_after_one_round(seed: int) -> None:
    graph = affine_graph(seed)
    for step in EXACT:
        once = step(graph)
        assert [n.op for n in step(once).nodes] == [n.op for n in once.nodes], step.__name__


def conv_bn(values: dict[str, float]) -> Graph:
    nodes = (
        Node("input", "input", (), {"shape": [1, 1, 1]}),
        Node(
            "conv", "conv", ("input", "w", "b"),
            {"stride": [1, 1], "padding": [0] * 4, "dilation": [1, 1], "groups": 1},
        ),
        Node("bn", "batch_norm", ("conv", "gamma", "beta", "mu", "var"), {"epsilon": 1e-5}),
        Node("relu", "relu", ("bn",)),
    )  # fmt: skip
    tensors = {k: torch.tensor([v], dtype=torch.float64) for k, v in values.items()}
    tensors["w"] = tensors["w"].reshape(1, 1, 1, 1)
    return Graph(nodes, tensors, ("relu",))


def test_worked_example_of_a_folded_batch_norm() -> None:
    graph = conv_bn({"w": 2, "b": 0.5, "gamma": 1.5, "beta": -0.3, "mu": 0.4, "var": 0.25})
    folded = fold_batch_norm(graph)
    layer = folded.by_name["conv"]
    assert ops(folded) == {"input": 1, "conv": 1, "relu": 1}
    assert float(folded.weight(layer)) == pytest.approx(5.9998800036, abs=1e-9)
    assert float(folded.tensors[layer.inputs[2]]) == pytest.approx(-5.99982e-6, abs=1e-9)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("layer", ["conv", "conv_transpose"])
@pytest.mark.parametrize("before", [True, False])
def test_batch_norm_folds_into_grouped_layers(groups: int, layer: str, before: bool) -> None:
    maker = Maker(np.random.default_rng(groups), (4, 6, 6), exact=False)
    x = maker.batch_norm("input") if before else "input"
    make = maker.conv if layer == "conv" else maker.conv_transpose
    x = make(x, 8, groups=groups)
    graph = maker.graph(maker.relu(x if before else maker.batch_norm(x)))
    folded = fold_batch_norm(graph)
    kept = before and layer == "conv_transpose"  # its zeros between inputs are no shifted zeros
    assert ops(folded)["batch_norm"] == int(kept)
    assert gap(graph, folded, normal(graph, 1)) < 1e-5


def test_a_shift_does_not_move_across_zero_padding() -> None:
    maker = Maker(np.random.default_rng(0), (2, 5, 5), exact=False)
    graph = maker.graph(maker.relu(maker.conv(maker.batch_norm("input"), 2, padding=1)))
    assert ops(fold_batch_norm(graph))["batch_norm"] == 1


def test_a_value_that_is_read_twice_is_not_folded_away() -> None:
    maker = Maker(np.random.default_rng(0), (2, 5, 5), exact=False)
    shared = maker.conv("input", 2)
    graph = maker.graph(maker.relu(maker.emit("add", maker.batch_norm(shared), shared)))
    folded = fold_batch_norm(graph)
    assert ops(folded) == ops(graph)
    assert gap(graph, folded, normal(graph, 1)) == 0


def channels_last_graph() -> Graph:
    """What TensorFlow exports look like: every layer between two transposes, images last-axis."""
    maker = Maker(np.random.default_rng(5), (8, 8, 3), exact=False)
    x = "input"
    for out in (4, 6):
        x = maker.emit("permute", x, dims=[0, 3, 1, 2])
        x = maker.emit("permute", maker.conv(x, out), dims=[0, 2, 3, 1])
        offset = maker.tensor(torch.from_numpy(maker.rng.normal(size=(1, 1, 1, out))).float())
        x = maker.relu(maker.emit("add_constant", x, offset))
    x = maker.relu(maker.linear(maker.flatten(x), 7))
    return maker.graph(maker.linear(x, 3))


def test_transposes_inside_a_channels_last_network_fold_away() -> None:
    graph = channels_last_graph()
    x = normal(graph, 2)
    final = apply_exact(graph, x, EXACT)
    left = [n for n in final.nodes if n.op == "permute"]
    assert [n.inputs for n in left] == [("input",)]  # the images themselves must be turned
    assert gap(graph, final, x) < 1e-5
    assert all(site.channel_axis == 0 for site in final.sites.values())
    assert list(final.sites) == list(graph.sites)


def test_an_exported_channels_last_network(shared_data: object) -> None:
    onnx = pytest.importorskip("convsnn.load.onnx")
    graph = onnx.load_onnx(f"{shared_data}/onnx/cifar10_marabou_small_nhwc.onnx")
    x = normal(graph, 2)
    final = apply_exact(graph, x, EXACT)
    inner = [n for n in final.nodes if n.op == "permute" and n.inputs != (final.input.name,)]
    assert ops(graph)["permute"] > 1
    assert not inner
    assert gap(graph, final, x) < 1e-4


def off_by_a_little(graph: Graph) -> Graph:
    """A wrong pass: one weight of the second layer grows by a percent."""
    second = [n for n in graph.nodes if n.op in ("conv", "linear")][1]
    return rebuild(
        graph,
        changed={second.name: (replace(second, inputs=(second.inputs[0], "w", second.inputs[2])),)},
        tensors={"w": graph.weight(second) * 1.01},
    )


def loses_an_axis(graph: Graph) -> Graph:
    """A wrong pass: the output comes out with one class less."""
    cut = Node("cut", "slice", (graph.outputs[0],), {"dim": 1, "start": 0, "stop": 2})
    return Graph((*graph.nodes, cut), graph.tensors, ("cut",))


def test_a_wrong_pass_is_named_with_layer_and_gap() -> None:
    maker = Maker(np.random.default_rng(7), (3, 6, 6), exact=False)
    first = maker.relu(maker.conv("input", 4))
    second = maker.relu(maker.conv(first, 4))
    graph = maker.graph(maker.linear(maker.flatten(second), 3))
    x = normal(graph, 1)
    with pytest.raises(RewriteError) as caught:
        apply_exact(graph, x, [remove_identities, off_by_a_little])
    assert "off_by_a_little" in str(caught.value)
    assert f"'{second}'" in str(caught.value)
    tops = [run(g, x, keep=[second])[second] for g in (graph, off_by_a_little(graph))]
    off = float((tops[0] - tops[1]).abs().max() / tops[0].abs().max())
    assert f"{off:.2e}" in str(caught.value)
    with pytest.raises(RewriteError, match="loses_an_axis"):
        apply_exact(graph, x, [loses_an_axis])


def cancelling(rng: np.random.Generator, size: float) -> Graph:
    """A layer and a batch norm that add `size` and take it away again, so that float32 keeps the
    fewer digits of what is between the larger it is."""
    maker = Maker(rng, (4,), exact=False)
    values = (torch.full((4,), value) for value in (size, 1.0, 0.0, size, 1.0))
    bias, *statistics = (maker.tensor(value) for value in values)
    weight = maker.tensor(torch.from_numpy(rng.normal(size=(4, 4))).float())
    hidden = maker.emit("linear", "input", weight, bias)
    norm = maker.emit("batch_norm", hidden, *statistics, epsilon=0.0)
    return maker.graph(maker.linear(maker.relu(norm), 3))


@pytest.mark.parametrize(("size", "off"), [(1e5, 1e-4), (1e7, 1e-2)])
def test_a_pass_may_change_what_is_rounding_and_no_more(size: float, off: float) -> None:
    graph = cancelling(np.random.default_rng(0), size)
    x = normal(graph, 1)
    folded = apply_exact(graph, x, [fold_batch_norm])
    assert gap(graph, folded, x) > off  # more than is allowed to a network that rounds little
    assert "batch_norm" not in ops(folded)

    def wrong(g: Graph) -> Graph:
        return replace(g, tensors={k: v * 1.02 if v.dim() > 1 else v for k, v in g.tensors.items()})

    with pytest.raises(RewriteError, match="wrong"):
        apply_exact(graph, x, [wrong])


def test_a_pass_that_breaks_the_numbers_is_caught() -> None:
    graph = random_graph(3, exact=False)

    def not_finite(g: Graph) -> Graph:
        return replace(g, tensors={k: v * float("nan") for k, v in g.tensors.items()})

    with pytest.raises(RewriteError, match="not_finite"):
        apply_exact(graph, normal(graph, 1), [not_finite])


def power_plan(graph: Graph, seed: int) -> Plan:
    """Thresholds that are powers of two, so that dividing weights by them is exact."""
    rng = np.random.default_rng(seed)
    sites = {}
    for name, site in graph.sites.items():
        rows = site.channels if rng.random() < 0.5 else 1
        values = 2.0 ** torch.from_numpy(rng.integers(-1, 2, rows)).float()
        threshold = site.per_channel(values) if rows > 1 else values[0]
        sites[name] = SitePlan(threshold, threshold * float(rng.choice([0.0, 0.25, 0.5])))
    return Plan(sites)


def normalised(graph: Graph, plan: Plan) -> tuple[Graph, Plan]:
    """Each site between 1 / lambda and lambda, thresholds 1: weight normalisation unmerged."""
    changed, tensors, sites = {}, dict(graph.tensors), {}
    for name, site in graph.sites.items():
        lam = plan.sites[name].threshold
        whole = lam.reshape(1, *(lam.shape or (1,) * len(site.shape)))
        tensors |= {f"{name}.lam": whole, f"{name}.inv": 1 / whole}
        node = graph.by_name[name]
        inner, outer = f"{name}.inner", f"{name}.pre"
        changed[name] = (
            Node(outer, "scale", (node.inputs[0], f"{name}.inv")),
            replace(node, name=inner, op="relu", inputs=(outer,), attrs={}),
            Node(name, "scale", (inner, f"{name}.lam")),
        )
        sites[inner] = SitePlan(torch.tensor(1.0), plan.sites[name].potential / lam)
    nodes = tuple(new for node in graph.nodes for new in changed.get(node.name, (node,)))
    return Graph(nodes, tensors, graph.outputs), Plan(sites)


@settings(max_examples=10)
@given(seed=SEEDS)
def test_weight_normalisation_equals_threshold_balancing(seed: int) -> None:
    graph = random_graph(seed)
    plan = power_plan(graph, seed)
    unmerged, ones = normalised(graph, plan)
    merged = merge_scales(unmerged)
    assert ops(merged)["scale"] <= ops(unmerged)["scale"]
    x = images(graph, seed, 3)
    balanced = simulate(to_spiking(graph, plan), x, steps=9)
    weights = simulate(to_spiking(merged, ones), x, steps=9)
    assert torch.equal(balanced.outputs[0], weights.outputs[0])
    for name in graph.sites:
        assert torch.equal(balanced.spikes[name], weights.spikes[f"{name}.inner"]), name


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_only_a_positive_factor_passes_a_max_pool(sign: float) -> None:
    maker = Maker(np.random.default_rng(6), (4, 8, 8), exact=False)
    factor = maker.tensor(sign * torch.tensor([0.5, 1, 2, 3]).reshape(1, 4, 1, 1))
    pooled = maker.max_pool(maker.emit("scale", maker.relu("input"), factor))
    graph = maker.graph(maker.relu(maker.conv(pooled, 2)))
    merged = merge_scales(graph)
    assert ops(merged)["scale"] == int(sign < 0)
    assert gap(graph, merged, normal(graph, 1)) < 1e-5


def test_in_a_plain_chain_every_scale_goes_into_weights() -> None:
    maker = Maker(np.random.default_rng(4), (2, 8, 8))
    x = maker.avg_pool(maker.relu(maker.conv("input", 4, padding=1)))
    x = maker.max_pool(maker.relu(maker.conv(x, 4, padding=1)))
    graph = maker.graph(maker.linear(maker.relu(maker.linear(maker.flatten(x), 5)), 3))
    merged = merge_scales(normalised(graph, power_plan(graph, 1))[0])
    assert "scale" not in ops(merged)


def test_worked_example_of_normalised_weights() -> None:
    """lambda = (2, 1.6), Rueckauer et al. 2017, equation 5; the image is not scaled."""
    maker = Maker(np.random.default_rng(0), (2,))
    w1, b1 = (
        maker.tensor(torch.tensor([[1, 0.5], [-0.5, 2]])),
        maker.tensor(torch.tensor([0.1, -0.2])),
    )
    w2 = maker.tensor(torch.tensor([[1, -1], [0.5, 0.25]]))
    b2 = maker.tensor(torch.tensor([0.1, 0.35]))
    first = maker.relu(maker.emit("linear", "input", w1, b1))
    second = maker.relu(maker.emit("linear", first, w2, b2))
    graph = maker.graph(second)
    x = torch.tensor([[1.0, 0.62]])
    values = run(graph, x, keep=graph.sites)
    torch.testing.assert_close(values[first], torch.tensor([[1.41, 0.54]]))
    torch.testing.assert_close(values[second], torch.tensor([[0.97, 1.19]]))
    lam = {first: torch.tensor(2.0), second: torch.tensor(1.6)}
    plan = Plan({name: SitePlan(v, torch.tensor(0.0)) for name, v in lam.items()})
    unmerged, ones = normalised(graph, plan)
    merged = merge_scales(unmerged)
    layers = [n for n in merged.nodes if n.op == "linear"]
    wanted = [
        ([[0.5, 0.25], [-0.25, 1]], [0.05, -0.1]),
        ([[1.25, -1.25], [0.625, 0.3125]], [0.0625, 0.21875]),
    ]
    for layer, (weight, bias) in zip(layers, wanted, strict=True):
        torch.testing.assert_close(merged.weight(layer), torch.tensor(weight))
        torch.testing.assert_close(merged.tensors[layer.inputs[2]], torch.tensor(bias))
    for net in (to_spiking(graph, plan), to_spiking(merged, ones)):
        result = simulate(net, x, steps=8)
        torch.testing.assert_close(result.outputs[0][-1], torch.tensor([[0.8, 1.0]]))
        assert [int(c.sum()) for c in result.spikes.values() if c.shape[0] == 8] == [7, 9]


@settings(max_examples=10)
@given(seed=SEEDS)
def test_folding_changes_no_spike_of_a_dyadic_network(seed: int) -> None:
    graph = random_graph(seed)
    plan = dyadic_plan(graph, seed)
    folded = apply_exact(graph, images(graph, 1, 2), EXACT)
    x = images(graph, seed, 3)
    a, b = (simulate(to_spiking(g, plan), x, steps=6) for g in (graph, folded))
    assert torch.equal(a.outputs[0], b.outputs[0])
    assert all(torch.equal(a.spikes[name], b.spikes[name]) for name in graph.sites)
