"""Calibration stages: the contract of the registry, percentiles by sorting, the best staircase.

The contract runs every stage behind `max`, so that stages that only improve a plan take part.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from conftest import Maker, images, random_graph
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from calibrate import CALIBRATORS, parse_stages
from calibrate.base import SetsThresholds
from calibrate.percentile import CHANNEL_BINS, LAYER_BINS
from calibrate.staircases import best_thresholds, staircase
from calibrate.statistics import Histogram, histograms, maxima
from convsnn.encoders import ENCODERS
from convsnn.errors import CalibrationError, ConfigError, ConvsnnError
from convsnn.graph import Graph, Node, run
from convsnn.spiking.network import to_spiking
from convsnn.spiking.plan import Context, Plan, Stage, run_stages

SEEDS = st.integers(0, 2**32 - 1)
NAMES = CALIBRATORS.names()


PER_BATCH = {"balance"}  # descends by one step a batch, so that the batches are part of the method
NEURON = {
    "confidence": "msat",
    "tsc": "tsc",
}  # stages that are for one neuron only; "if" for all others
BESIDE = {"tsc": {"encoder": "tsc:scale=1", "readout": "switch"}}


def context(graph: Graph, *batches: Tensor, steps: int = 8, neuron: str = "if") -> Context:
    return Context(graph, list(batches), neuron, ENCODERS.create("direct"), steps, 0)


@cache
def loud_networks() -> list[tuple[Graph, Tensor]]:
    """Random dyadic networks that no layer of is silent on their images."""
    found = []
    for seed in range(100):
        graph = random_graph(seed, blocks=2)
        x = images(graph, seed, 6)
        values = run(graph, x, keep=graph.sites)
        if all(float(values[name].max()) > 0.5 for name in graph.sites):
            found.append((graph, x))
        if len(found) == 2:
            break
    return found


def calibrated(name: str, graph: Graph, *batches: Tensor) -> Plan:
    given_ = context(graph, *batches, neuron=NEURON.get(name, "if"))
    first = "" if isinstance(CALIBRATORS.create(name), SetsThresholds) else "max+"
    return run_stages(given_, parse_stages(first + name))


@pytest.mark.parametrize("name", NAMES)
def test_contract_a_usable_plan_on_record(name: str) -> None:
    for graph, x in loud_networks()[1:]:
        plan = calibrated(name, graph, x)
        assert list(plan.sites) == list(graph.sites)
        assert plan.record[-1]["stage"] == name
        for site, planned in plan.sites.items():
            assert bool((planned.threshold > 0).all())
            assert bool(planned.threshold.isfinite().all())
            shape = graph.shapes[site]
            for key, tensor in planned.tensors().items():
                one = tensor[0] if key == "timed_bias" else tensor
                assert torch.broadcast_shapes(one.shape, shape) == shape
        to_spiking(graph, plan, neuron=NEURON.get(name, "if"), **BESIDE.get(name, {}))
    assert CALIBRATORS.describe(name)


def assert_same(a: Plan, b: Plan) -> None:
    for site, planned in a.sites.items():
        assert torch.equal(planned.threshold, b.sites[site].threshold), site
        mine, theirs = planned.tensors(), b.sites[site].tensors()
        assert mine.keys() == theirs.keys()
        for key, value in mine.items():
            torch.testing.assert_close(value, theirs[key], rtol=1e-5, atol=1e-6)
    assert a.weights.keys() == b.weights.keys()
    for key, value in a.weights.items():
        torch.testing.assert_close(value, b.weights[key], rtol=1e-3, atol=1e-3)  # solved for


@pytest.mark.parametrize("name", NAMES)
def test_contract_the_same_plan_again_and_for_any_batch_size(name: str) -> None:
    graph, x = loud_networks()[0]
    plan = calibrated(name, graph, x)
    assert_same(plan, calibrated(name, graph, x))
    if name in PER_BATCH:
        return
    assert_same(plan, calibrated(name, graph, *x.split(1)))
    assert_same(plan, calibrated(name, graph, x[:4], x[4:]))


@pytest.mark.parametrize("name", NAMES)
def test_contract_the_graph_is_left_alone(name: str) -> None:
    graph, x = loud_networks()[1]
    topology, tensors = graph.topology(), {k: v.clone() for k, v in graph.tensors.items()}
    calibrated(name, graph, x)
    assert graph.topology() == topology
    assert all(torch.equal(v, tensors[k]) for k, v in graph.tensors.items())


def chain(*ops: tuple[str, dict[str, float]], features: int = 4) -> tuple[Graph, list[str]]:
    """Linear layers of ones, each with an activation; the names of the activations."""
    maker = Maker(np.random.default_rng(0), (features,))
    x, sites = "input", []
    for op, attrs in ops:
        weight, bias = maker.tensor(torch.eye(features)), maker.tensor(torch.zeros(features))
        x = maker.emit(op, maker.emit("linear", x, weight, bias), **attrs)
        sites.append(x)
    return maker.graph(maker.linear(x, 2)), sites


@pytest.mark.parametrize("name", NAMES)
def test_contract_a_ceiling_is_respected(name: str) -> None:
    graph, (first, second) = chain(("clip", {"ceiling": 0.75}), ("relu", {}))
    x = torch.arange(1, 25).float().reshape(6, 4) / 4
    plan = calibrated(name, graph, x)
    assert float(plan.sites[first].threshold.max()) <= 0.75
    assert float(plan.sites[second].threshold.max()) > 0


@pytest.mark.parametrize("name", NAMES)
def test_contract_a_silent_channel_takes_no_tiny_threshold(name: str) -> None:
    graph, (first, _) = chain(("relu", {}), ("relu", {}))
    x = torch.arange(1, 25).float().reshape(6, 4) / 4
    x[:, 2] = -1
    x[:, 3] *= 1e-9  # not quite silent, but a neuron of this threshold would fire at noise
    threshold = calibrated(name, graph, x).sites[first].threshold.expand(4)
    assert float(threshold[2:].min()) >= 0.1 * float(threshold[:2].max())


@pytest.mark.parametrize("name", NAMES)
def test_contract_a_silent_layer_is_named(name: str) -> None:
    graph, (first, _) = chain(("relu", {}), ("relu", {}))
    given_ = context(graph, -torch.ones(3, 4), neuron=NEURON.get(name, "if"))
    with pytest.raises(CalibrationError, match=f"'{first}'") as caught:
        run_stages(given_, parse_stages(name))
    assert caught.value.hint


BAD_IMAGES: dict[str, list[Tensor]] = {
    "none": [],
    "not a number": [torch.full((2, 4), float("nan"))],
    "infinite in the second batch": [torch.ones(2, 4), torch.full((2, 4), float("inf"))],
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_contract_images_that_say_nothing_are_refused(name: str, kind: str) -> None:
    graph, _ = chain(("relu", {}), ("relu", {}))
    with pytest.raises(ConvsnnError):
        run_stages(context(graph, *BAD_IMAGES[kind]), parse_stages(name))


WRONG = [
    "maxx", "", "max+", "max++mse", "percentile:q=0", "percentile:q=100.1", "percentile:q=nan",
    "percentile:q=high", "channel:q=-1", "mse:steps=0", "mse:grid=1", "mse:per=neuron",
    "max:factor=0", "max:factor=-1", "max:factor=inf", "max:fraction=1", "max:factor",
]  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_spec_is_a_configuration_error(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_stages(text)


def test_a_plan_without_thresholds_is_refused() -> None:
    graph, (first, _) = chain(("relu", {}), ("relu", {}))
    with pytest.raises(CalibrationError, match=first):
        run_stages(context(graph, torch.ones(2, 4)), [])


def rectified(features: int) -> Graph:
    """The input's positive part, nothing else."""
    nodes = (Node("input", "input", (), {"shape": [features]}), Node("relu", "relu", ("input",)))
    return Graph(nodes, {}, ("relu",))


def one_site(stage: Stage, x: Tensor) -> Tensor:
    return stage(context(rectified(x.shape[1]), *x.split(2)), Plan()).sites["relu"].threshold


def by_sorting(values: np.ndarray, q: float, *, nonzero: bool) -> float:
    """The value at index int(n q / 100) - 1 of the sorted ones, the first at least."""
    values = np.sort(values[values > 0] if nonzero else values)
    return float(values[max(int(len(values) * q / 100) - 1, 0)])


def within_a_bin(got: float, wanted: float, top: float, bins: int) -> bool:
    return -1e-6 * top <= got - wanted <= top / bins * (1 + 1e-3) + 1e-6 * top


QS = st.one_of(st.sampled_from([100.0, 99.9, 99.0, 50.0]), st.floats(0.5, 100))


@settings(max_examples=30)
@given(seed=SEEDS, q=QS, nonzero=st.booleans(), rows=st.integers(1, 40))
def test_percentile_by_sorting(seed: int, q: float, nonzero: bool, rows: int) -> None:
    x = torch.from_numpy(np.random.default_rng(seed).normal(0.3, 1, (rows, 3))).float()
    assume(float(x.max()) > 0)
    stage = CALIBRATORS.get("percentile")(q=q, nonzero=nonzero)
    values = x.clamp(min=0).numpy().ravel()
    wanted = by_sorting(values, q, nonzero=nonzero)
    if wanted == 0:
        with pytest.raises(CalibrationError, match="relu"):
            one_site(stage, x)
    else:
        got = float(one_site(stage, x))
        assert within_a_bin(got, wanted, float(values.max()), LAYER_BINS)


@settings(max_examples=20)
@given(seed=SEEDS, q=QS, rows=st.integers(1, 40))
def test_channel_percentile_by_sorting(seed: int, q: float, rows: int) -> None:
    x = torch.from_numpy(np.random.default_rng(seed).normal(0.3, 1, (rows, 3))).float()
    values = x.clamp(min=0).numpy()
    assume(bool((values.max(0) > 1e-3).all()))
    got = one_site(CALIBRATORS.get("channel")(q=q), x)
    for channel in range(3):
        top = float(values[:, channel].max())
        wanted = by_sorting(values[:, channel], q, nonzero=False) or top
        assert within_a_bin(float(got[channel]), wanted, top, CHANNEL_BINS)


@pytest.mark.parametrize(("q", "wanted"), [(99.0, 0.9), (100.0, 1.0)])
def test_worked_example_of_the_index_rule(q: float, wanted: float) -> None:
    x = torch.arange(1, 11).float().reshape(10, 1) / 10
    got = float(one_site(CALIBRATORS.create(f"percentile:q={q}"), x))
    assert got == pytest.approx(wanted, abs=1 / LAYER_BINS)


def test_maximum_is_the_largest_of_all_batches() -> None:
    x = torch.tensor([[0.5, -3.0], [2.0, 0.25], [1.0, 0.0]])
    assert float(one_site(CALIBRATORS.create("max"), x)) == 2.0
    assert float(one_site(CALIBRATORS.create("max:factor=0.25"), x)) == 0.5


@pytest.mark.parametrize("name", ["max", "percentile", "channel", "mse"])
def test_the_initial_potential_is_a_fraction_of_the_threshold(name: str) -> None:
    graph, x = loud_networks()[0]
    stages = parse_stages(f"{name}:potential=0.25")
    for planned in run_stages(context(graph, x), stages).sites.values():
        assert torch.equal(planned.potential, planned.threshold / 4)


ACTIVATIONS = [0.12, 0.28, 0.41, 0.83, 1.7]


def error_of(values: Tensor, threshold: float, steps: int, potential: float) -> float:
    """Mean squared error of the staircase at `threshold`."""
    levels = staircase(values, torch.tensor(threshold, dtype=torch.float64), steps, potential)
    return float(((levels - values) ** 2).mean())


def test_worked_example_of_the_best_staircase() -> None:
    """Li et al. 2021, from potential 0: 1.632 = 0.96 of the maximum."""
    x = torch.tensor(ACTIVATIONS).reshape(5, 1)
    stage = CALIBRATORS.create("mse:steps=4,per=layer,potential=0")
    threshold = float(one_site(stage, x))
    assert threshold == pytest.approx(1.632, abs=1e-6)
    values = torch.tensor(ACTIVATIONS, dtype=torch.float64)
    assert error_of(values, threshold, 4, 0.0) == pytest.approx(0.0195248, abs=1e-6)
    assert error_of(values, 1.7, 4, 0.0) == pytest.approx(0.0849850, abs=1e-7)


@settings(max_examples=20)
@given(seed=SEEDS, steps=st.integers(1, 16), rows=st.integers(3, 60))
def test_no_threshold_of_the_grid_fits_much_better(seed: int, steps: int, rows: int) -> None:
    x = torch.from_numpy(np.random.default_rng(seed).gamma(1, 1, (rows, 1))).float()
    stage = CALIBRATORS.get("mse")(steps=steps, per="layer", potential=0.5, grid=40)
    chosen, values, top = float(one_site(stage, x)), x[:, 0].double(), float(x.max())
    best = min(error_of(values, top * i / 40, steps, 0.5) for i in range(1, 41))
    assert error_of(values, chosen, steps, 0.5) <= best + 2 * top * top / 2048


def test_the_best_staircase_is_the_default_of_many_steps() -> None:
    graph, x = loud_networks()[0]
    for neuron, steps, used in (("if", 4, 4), ("if", 100, 10), ("burst:gamma=5", 100, 2)):
        given_ = context(graph, x, steps=steps, neuron=neuron)
        plan = CALIBRATORS.create("mse")(given_, Plan())
        assert plan.record[-1]["steps"] == used


@pytest.mark.parametrize("gamma", [1, 3, 8])
def test_bursts_split_the_range_of_the_best_staircase(gamma: int) -> None:
    graph, x = loud_networks()[0]
    whole = CALIBRATORS.create(f"mse:steps={4 * gamma}")(context(graph, x), Plan())
    given_ = context(graph, x, neuron=f"burst:gamma={gamma}")
    split = CALIBRATORS.create("mse:steps=4")(given_, Plan())
    for name, planned in split.sites.items():
        torch.testing.assert_close(planned.threshold * gamma, whole.sites[name].threshold)
        torch.testing.assert_close(planned.potential, planned.threshold / 2)


@settings(max_examples=20)
@given(seed=SEEDS, bins=st.integers(1, 64))
def test_histograms_hold_every_value_in_its_bin(seed: int, bins: int) -> None:
    x = torch.from_numpy(np.random.default_rng(seed).normal(0, 1, (8, 3))).float()
    assume(float(x.max()) > 0)
    given_ = context(rectified(3), *x.split(3))
    found = histograms(given_, maxima(given_), per_channel=True, bins=bins)["relu"]
    for channel in range(3):
        values = x[:, channel].clamp(min=0).double()
        assert int(found.zeros[channel]) == int((values == 0).sum())
        assert int(found.counts[channel].sum()) + int(found.zeros[channel]) == 8
        for edge, count in zip(found.values[channel], found.counts[channel].cumsum(0), strict=True):
            near = 1e-6 * float(found.top[channel])
            below = int(((values > 0) & (values <= edge - near)).sum())
            assert below <= int(count) <= int(((values > 0) & (values <= edge + near)).sum())


def test_rows_without_activations_do_not_disturb_the_search() -> None:
    counts = torch.zeros(2, 8, dtype=torch.int64)
    counts[0, 7] = 3
    found = Histogram(torch.tensor([1.0, 0.0]), torch.tensor([0, 3]), counts)
    thresholds = best_thresholds(found, 4, 0.5, 10)
    assert bool(thresholds.isfinite().all())
    assert float(thresholds[0]) == pytest.approx(0.9)  # the middle of the last of 8 bins is 0.94


CHANNEL_NETS: list[tuple[Callable[[Maker], str], int]] = [  # and the axis of their channels
    (lambda m: m.conv("input", 4), 0),
    (lambda m: m.linear(m.flatten("input"), 4), 0),
    (lambda m: m.linear("input", 4), 2),
    (lambda m: m.emit("scale", m.linear("input", 4), m.tensor(torch.ones(1, 1, 1, 4))), 2),
]


@pytest.mark.parametrize(("build", "axis"), CHANNEL_NETS)
def test_channels_lie_where_the_layer_before_puts_them(
    build: Callable[[Maker], str], axis: int
) -> None:
    """The last axis behind a fully connected layer, else the first; maxima along it by hand."""
    maker = Maker(np.random.default_rng(8), (2, 5, 6), exact=False)
    name = maker.relu(build(maker))
    graph = maker.graph(name)
    x = torch.from_numpy(np.random.default_rng(9).normal(size=(4, 2, 5, 6))).float()
    assert (graph.sites[name].channels, graph.sites[name].channel_axis) == (4, axis)
    values = run(graph, x)[name].movedim(axis + 1, 0).reshape(4, -1).amax(1)
    threshold = CALIBRATORS.create("channel:q=100")(context(graph, x), Plan()).sites[name].threshold
    torch.testing.assert_close(threshold.flatten(), values)
    assert threshold.shape[axis] == 4


def test_half_a_level_of_current_is_half_a_level_after_all_steps() -> None:
    graph, x = loud_networks()[0]
    for text, steps in (("mse:start=current", 64), ("mse:start=current,steps=8", 8)):
        plan = run_stages(context(graph, x, steps=64), parse_stages(text))
        for planned in plan.sites.values():
            assert planned.shift is not None
            assert torch.allclose(planned.shift * steps, planned.threshold / 2)
            assert not planned.potential.any()
