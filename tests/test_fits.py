"""Smooth activations as sums of neurons: the fit, the network it makes, what is refused."""

from functools import cache
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import convsnn
from calibrate import parse_stages
from calibrate.fits import Fit, as_if_fitted, chosen_layers, fitted, parse_fits
from calibrate.methods import choose_methods
from calibrate.splines import _costs, _cut, closest_line, on_line
from convsnn.errors import CalibrationError, ConfigError, UnsupportedError
from convsnn.export import load_artifact, save_artifact
from convsnn.graph import Graph, Node, run
from convsnn.graph.fits import fitted_nodes, parts_of_fits, without_functions
from convsnn.graph.ops import OPS
from convsnn.graph.ops.fitted import FITTABLE
from convsnn.load import load_module
from convsnn.measure import evaluate
from convsnn.measure.chip_fit import fit_chip
from convsnn.measure.chip_table import load_chip
from convsnn.measure.energy.dense import dense_rows
from convsnn.measure.energy.rows import totals
from convsnn.measure.energy.structure import Structure
from convsnn.passes.ramps import Line, with_ramps
from convsnn.report.page.summary import fits_in_words
from convsnn.simulate import simulate
from convsnn.spiking.kinds import BINARY
from convsnn.workflows.compare.comparison import _of_if
from convsnn.workflows.compare.rows import Conversion
from convsnn.workflows.convert.network import convert
from convsnn.workflows.subject.method import Method

FINITE = st.floats(-4, 4)


def images(count: int = 64) -> Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(1))


def module(*acts: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [layer for act in acts for layer in (nn.Linear(4, 4), act)]
    return nn.Sequential(*layers, nn.Linear(4, 3)).eval()


@cache
def two_functions() -> Graph:
    return load_module(module(nn.GELU(), nn.Tanh()), images(2))


@given(pieces=st.integers(1, 4), seed=st.integers(0, 999))
def test_pieces_meet_where_their_errors_are_least_of_all_ways(pieces: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    x = np.sort(draw.normal(size=60))
    y = np.sin(3 * x) + draw.normal(size=60) / 9
    candidates = np.linspace(x[0], x[-1], 7)
    cost = _costs(x, y, candidates)

    def error(ends: tuple[int, ...]) -> float:
        return sum(cost[a, b] for a, b in pairwise((0, *ends, 6)))

    ways = [w for count in range(pieces) for w in combinations(range(1, 6), count)]
    chosen = np.searchsorted(candidates, _cut(x, y, candidates, pieces)[1:-1])
    assert error(tuple(chosen)) <= min(map(error, ways)) + 1e-9


@settings(max_examples=25, deadline=None)
@given(pieces=st.integers(1, 6), seed=st.integers(0, 999))
def test_the_closest_line_is_at_least_as_close_as_a_straight_one(pieces: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    x = draw.normal(size=400) * draw.uniform(0.1, 5)
    y = np.sin(x) + x * draw.normal()
    places, values = closest_line(x, y, pieces)
    assert len(places) == len(values) <= pieces + 1
    assert (places[0], places[-1]) == (x.min(), x.max())
    assert (np.diff(places) > 0).all()
    error = np.square(on_line(x, places, values) - y).sum()
    (line,) = [np.polynomial.Polynomial.fit(x, y, 1)]
    assert error <= np.square(line(x) - y).sum() * (1 + 1e-6) + 1e-9
    more = closest_line(x, y, pieces + 4)
    assert np.square(on_line(x, *more) - y).sum() <= error * 1.1 + 1e-9


@settings(max_examples=8, deadline=None)
@given(
    widths=st.lists(st.floats(0.1, 3), min_size=1, max_size=5), start=FINITE,
    values=st.lists(FINITE, min_size=6, max_size=6), turned=st.lists(st.booleans(), min_size=5),
)  # fmt: skip
def test_ramps_are_the_line_and_the_original_stays(
    widths: list[float], start: float, values: list[float], turned: list[bool]
) -> None:
    places = (start + np.cumsum([0.0, *widths])).tolist()
    count = len(widths)
    line = Line(places, values[: count + 1], turned[:count], 0.1)
    nodes = (Node("x", "input", (), {"shape": [9]}), Node("f", "silu", ("x",), {"alpha": 2.0}))
    bare = Graph(nodes, {"unused": torch.zeros((), dtype=torch.float64)}, ("f",))
    graph = with_ramps(bare, {"f": line})
    x = torch.linspace(-6, 16, 9, dtype=torch.float64)[None]
    wanted = torch.from_numpy(on_line(x.numpy(), np.array(places), np.array(values[: count + 1])))
    got = run(without_functions(graph), x)["f"]
    torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(run(graph, x)["f"], run(bare, x)["f"])
    assert not graph.smooth
    assert all(site.kind == "clip" for site in graph.sites.values())
    assert set(parts_of_fits(graph).values()) == {"f"}


@pytest.mark.parametrize("schedule", ["layers", "steps"])
def test_a_fitted_network_is_binary_and_comes_close_to_its_original(schedule: str) -> None:
    graph, x = two_functions(), images(96)
    gaps = []
    for levels, steps in ((2, 4), (8, 16)):
        net = convert(
            graph, x[:4], [x], parse_stages("mse"), steps=steps, schedule=schedule,
            fit=f"gelu=if:{levels},tanh=if:{levels}", spikes="binary",
        )  # fmt: skip
        assert net.kind == BINARY
        answer = simulate(net, x, steps=steps, count=False).outputs[0][-1]
        wanted = run(graph, x)[graph.outputs[0]]
        torch.testing.assert_close(run(net.graph, x)[net.graph.outputs[0]], wanted)
        gaps.append(float((answer - wanted).norm() / wanted.norm()))
        assert len(net.graph.sites) <= 2 * levels
    assert gaps[1] < min(0.03, gaps[0] / 3)


def test_the_seed_of_a_run_draws_the_values_that_are_fitted() -> None:
    nodes = (
        Node("x", "input", (), {"shape": [300]}), Node("f", "gelu", ("x",)),
        Node("y", "linear", ("f", "w")),
    )  # fmt: skip
    x = torch.randn(8, 300, generator=torch.Generator().manual_seed(1))
    first, again, other = (
        fitted_nodes(
            convert(Graph(nodes, {"w": torch.ones(2, 300)}, ("y",)), x[:2], [x],
                    parse_stages("max"), steps=2, fit="gelu=if:2", seed=seed).graph
        )
        for seed in (1, 1, 2)
    )  # fmt: skip
    assert first == again
    assert first != other


def test_every_function_that_can_be_fitted_is_fitted_well() -> None:
    for op in FITTABLE:
        nodes = (
            Node("x", "input", (), {"shape": [4]}), Node("in", "linear", ("x", "w")),
            Node("f", op, ("in",)), Node("y", "linear", ("f", "w")),
        )  # fmt: skip
        torch.manual_seed(0)
        graph, x = Graph(nodes, {"w": 2 * torch.randn(4, 4)}, ("y",)), images(120)
        net = convert(graph, x[:2], [x[:50], x[50:]], parse_stages("max"), steps=4, fit="f=if:8")
        (node,) = fitted_nodes(net.graph)
        assert node.attrs["error"] < 0.06
        values = run(net.body, x, keep=["in", "f"])
        wanted = OPS[op].run(values["in"])
        assert float((values["f"] - wanted).norm() / wanted.norm()) < 0.06


def test_a_fitted_network_is_kept_exported_and_reported(tmp_path: Path) -> None:
    net_of, x = module(nn.SiLU(), nn.ReLU()), images(128)
    with torch.no_grad():
        y = net_of(x).argmax(1)
    snn = convsnn.convert(net_of, (x, y), 8, fit="silu=if:4", spikes="binary", device="cpu")
    report = snn.evaluate((x, y)).document
    (fit,) = report["fitted"]
    assert (fit["name"], fit["function"], fit["neurons"]) == ("1", "silu", 4)
    assert 0 < fit["error"] < 0.1
    assert report["kind"] == BINARY
    assert report["ann"]["accuracy"] == 1.0  # the original's, not the fit's
    assert report["method"]["fit"] == "silu=if:4"
    assert "1 (silu, 4 neurons a value" in fits_in_words(report)
    save_artifact(snn.network, tmp_path / "n.safetensors")
    again = load_artifact(tmp_path / "n.safetensors")
    assert torch.equal(
        simulate(again, x, steps=8).outputs[0], simulate(snn.network, x, steps=8).outputs[0]
    )
    onnx.checker.check_model(snn.export(tmp_path / "n.onnx"), full_check=True)


def test_the_original_is_priced_with_its_function() -> None:
    x = images()
    net = convert(module(nn.SiLU()), x[:2], [x], parse_stages("mse"), steps=4, fit="silu=if:4")
    got = evaluate(net, [(x, None)], steps=4)
    assert got.seen is not None
    counts = totals(dense_rows(Structure(net.graph, got.seen.connections)))
    assert float(counts["lookups"]) == 4
    assert "comparisons" not in counts
    assert "residual_sums" not in counts


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gelu", "is no fit"),
        ("gelu=if", "is no fit"),
        ("=if:8", "is no fit"),
        ("gelu=if:0", "from 1 to 16 neurons"),
        ("gelu=if:32", "from 1 to 16 neurons"),
        ("gelu=if:-2", "from 1 to 16"),
        ("gelu=if:many", "'many' is no whole number"),
        ("gelu=burst:8", "a sum of if neurons, not 'burst'"),
        ("gelu=if:8,gelu=if:4", "fitted twice"),
        ("tanh=if:8", "no layer or function 'tanh'"),
        ("blocks.7=if:8", "no layer or function 'blocks.7'"),
        ("softmax=if:8", "no function of one value alone"),
        ("log-softmax=if:8", "where it is a readout"),
        ("norm=if:8", "layer 'norm' is a layer_norm; it is no function of one value alone"),
        ("out=if:8", "no smooth function"),
    ],
)
def test_what_cannot_be_fitted_is_refused_by_name(text: str, words: str) -> None:
    nodes = (
        Node("x", "input", (), {"shape": [4]}), Node("in", "linear", ("x", "w")),
        Node("f", "gelu", ("in",)),
        Node("norm", "layer_norm", ("f",), {"dims": [1], "epsilon": 1e-5}),
        Node("shares", "softmax_inside", ("norm",), {"dim": 1}),
        Node("out", "linear", ("shares", "w")), Node("end", "log_softmax", ("out",), {"dim": 1}),
    )  # fmt: skip
    graph = Graph(nodes, {"w": torch.eye(4)}, ("end",))
    with pytest.raises(ConfigError, match=words):
        chosen_layers(graph, parse_fits(text))


def test_methods_of_other_neurons_are_left_out_of_a_comparison_or_refused() -> None:
    known = choose_methods("mse,layers,burst")
    kept = [method.name for method in _of_if(known, "all")]
    assert kept == [method.name for method in known if method.neuron == "if"]
    with pytest.raises(ConfigError, match="burst have none of"):
        _of_if(known, "mse,layers,burst")
    row = Conversion(known[0], 8, fit=parse_fits("gelu=if:8"))
    assert "--fit gelu=if:8" in row.describe()["how"]
    assert row.identity() != Conversion(known[0], 8).identity()


def test_layers_go_before_functions_and_kinds_are_told_before_any_work() -> None:
    graph = two_functions()
    found = chosen_layers(graph, parse_fits(["3=if:2", "gelu=if:8", "tanh=if:4"]))
    assert found == {"1": 8, "3": 2}
    seen = as_if_fitted(graph, [Fit("gelu", 8)])
    assert [node.op for node in seen.smooth] == ["tanh"]
    x = images(8)
    with pytest.raises(UnsupportedError, match="tanh") as refused:
        convert(graph, x[:2], [x], parse_stages("mse"), fit="gelu=if:8", spikes="binary")
    assert "--fit tanh=if:8" in (refused.value.hint or "")
    with pytest.raises(ConfigError, match="fits are sums of if neurons"):
        Method("mse", "signed", fit=(Fit("gelu", 8),))
    with pytest.raises(ConfigError, match="fits are sums of if neurons"):
        convert(graph, x[:2], [x], parse_stages("mse"), fit="gelu=if:8", neuron="signed")
    with pytest.raises(CalibrationError, match="on three of four images, and there are 3"):
        fitted(graph, [x[:3]], [Fit("gelu", 8)])
    assert parse_fits("gelu=if:8,") == (Fit("gelu", 8),)


def test_no_chip_holds_neurons_that_share_weights() -> None:
    x = images(8)
    net = convert(two_functions(), x[:2], [x], parse_stages("mse"), fit="gelu=if:2,tanh=if:2")
    (found,) = [f for f in fit_chip(net, load_chip("loihi2")) if f.limit == "weights"]
    assert not found.fits
    assert found.layer == "1"


def test_every_place_of_a_layer_is_seen() -> None:
    """Large values at every other place only, as the channels of an image may lie."""
    nodes = (Node("x", "input", (), {"shape": [600]}), Node("f", "silu", ("x",)))
    x = torch.randn(40, 600, generator=torch.Generator().manual_seed(2))
    x[:, ::2] /= 100
    graph = fitted(Graph(nodes, {"w": torch.eye(4)}, ("f",)), [x], parse_fits("silu=if:8"))
    got, wanted = run(without_functions(graph), x)["f"], run(graph, x)["f"]
    assert float((got - wanted).norm() / wanted.norm()) < 0.02


def test_inputs_that_teach_nothing_are_refused() -> None:
    nodes = (Node("x", "input", (), {"shape": [4]}), Node("f", "gelu", ("x",)),
             Node("y", "linear", ("f", "w")))  # fmt: skip
    graph, x = Graph(nodes, {"w": torch.eye(4)}, ("y",)), images(8)
    with pytest.raises(CalibrationError, match="the same on all images"):
        convert(graph, x[:2], [torch.zeros_like(x)], parse_stages("mse"), fit="gelu=if:8")
    with pytest.raises(CalibrationError, match="there are 0"):
        convert(graph, x[:2], [], parse_stages("mse"), fit="gelu=if:8")
