"""Stages that correct a calibrated network by simulation: worked numbers, laws, least squares."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import Maker, dyadic_plan, images, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from calibrate import parse_stages
from calibrate.held import bytes_held
from calibrate.replay import Replay
from calibrate.weights import affordable
from convsnn.encoders import ENCODERS
from convsnn.errors import CalibrationError, ConfigError
from convsnn.graph import Graph, Node, run
from convsnn.load.torch_module import load_module
from convsnn.passes import EXACT, apply_exact
from convsnn.simulate import simulate
from convsnn.spiking.network import to_spiking
from convsnn.spiking.plan import Context, Plan, SitePlan, run_stages
from zoo.data import open_data
from zoo.models import MODELS

SEEDS = st.integers(0, 2**32 - 1)
STEPS = 8


def context(graph: Graph, batches: Sequence[Tensor], steps: int = STEPS) -> Context:
    return Context(graph, batches, "if", ENCODERS.create("direct"), steps, 0)


def corrected(text: str, graph: Graph, batches: Sequence[Tensor], plan: Plan) -> Plan:
    """The plan after the stages of `text`."""
    for stage in parse_stages(text):
        plan = stage(context(graph, batches), plan)
    return plan


def neurons(count: int) -> Graph:
    """Nothing but one channel of ReLU neurons."""
    maker = Maker(np.random.default_rng(0), (1, count))
    return maker.graph(maker.relu("input"))


def only(plan: Plan) -> SitePlan:
    (planned,) = plan.sites.values()
    return planned


def mean_gap(graph: Graph, plan: Plan, x: Tensor, *, steps: int = STEPS) -> Tensor:
    """Mean over the images of the original's output minus the spiking network's."""
    return (run(graph, x)[graph.outputs[0]] - replayed(graph, plan, x, steps)[-1]).mean(0)


def replayed(graph: Graph, plan: Plan, x: Tensor, steps: int) -> Tensor:
    """The accumulated output of a replay at every step, (T, B, ...)."""
    replay = Replay(context(graph, [x]), plan, steps, len(x))
    *_, last = replay.layers()
    found = [values for values, _ in replay.currents(last)]
    count = torch.arange(1, steps + 1).reshape(-1, *[1] * (found[0].dim() - 1))
    return torch.cat([v.expand(steps, *v.shape[1:]) for v in found], 1).cumsum(0) / count


@pytest.fixture
def worked() -> tuple[Graph, Plan, Tensor]:
    """Three neurons with activations .5, .3, .8 whose spikes say .4, .25, .9 for eight steps."""
    threshold = torch.tensor([[0.4, 0.25, 0.9]], dtype=torch.float64)
    potential = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
    graph = neurons(3)
    plan = Plan({name: SitePlan(threshold, potential) for name in graph.sites})
    return graph, plan, torch.tensor([[[0.5, 0.3, 0.8]]], dtype=torch.float64)


def test_worked_bias(worked: tuple[Graph, Plan, Tensor]) -> None:
    graph, plan, x = worked
    shift = only(corrected("bias:steps=8,sweeps=1", graph, [x], plan)).shift
    assert shift is not None
    assert shift.shape == (1, 1)
    assert float(shift) == pytest.approx(0.05 / 3)


def test_worked_potential(worked: tuple[Graph, Plan, Tensor]) -> None:
    graph, plan, x = worked
    planned = only(corrected("potential:steps=8,sweeps=1", graph, [x], plan))
    moved = planned.potential - only(plan).potential
    torch.testing.assert_close(moved, torch.tensor([[0.8, 0.4, -0.8]], dtype=torch.float64))
    one = only(corrected("potential:steps=8,sweeps=1,per=channel", graph, [x], plan))
    torch.testing.assert_close(
        one.potential - only(plan).potential, torch.full((1, 3), 0.4 / 3, dtype=torch.float64)
    )


def test_worked_time_varying_bias() -> None:
    # .5 a step against a threshold of .4: spikes say .4 after one step and after two, so that .1
    # and then .1 more are owed; what step 5 owes less (.8 + .2 = 1: two spikes' worth of charge
    # were left over, and a spike came late) is taken back
    graph, x = neurons(1), torch.tensor([[[0.5]]], dtype=torch.float64)
    plan = Plan({n: SitePlan(*torch.tensor([[[0.4]], [[0.0]]]).double()) for n in graph.sites})
    owed = only(corrected("ftbc:steps=2,sweeps=1,rate=1", graph, [x], plan)).timed_bias
    assert owed is not None
    assert owed.shape == (2, 1, 1)
    torch.testing.assert_close(owed.flatten(), torch.tensor([0.1, 0.1]).double())
    half = only(corrected("ftbc:steps=2,sweeps=1", graph, [x], plan)).timed_bias
    assert half is not None
    torch.testing.assert_close(half, owed / 2)


def test_a_time_varying_bias_mends_what_a_constant_one_cannot() -> None:
    # a spike that comes after three steps and then in each: late, and right from then on
    graph = neurons(1)
    x = torch.tensor([[[1.0]]])
    plan = Plan({n: SitePlan(torch.tensor([[1.0]]), torch.tensor([[-2.0]])) for n in graph.sites})
    before, after = (
        [float(mean_gap(graph, p, x, steps=t).abs()) for t in range(1, 9)]
        for p in (plan, corrected("ftbc:steps=8,rate=1", graph, [x], plan))
    )
    assert before == pytest.approx([1, 1, 2 / 3, *(2 / t for t in range(4, 9))])
    assert max(after) < 1e-6


@pytest.mark.parametrize("lengths", [(4, 8), (8, 4)])
def test_biases_of_other_lengths_add_up(lengths: tuple[int, int]) -> None:
    graph, x = neurons(1), torch.tensor([[[1.0]]])
    plan = Plan({n: SitePlan(torch.tensor([[1.0]]), torch.tensor([[-2.0]])) for n in graph.sites})
    first, then = lengths
    made = corrected(f"ftbc:steps={first},rate=1+ftbc:steps={then},rate=1", graph, [x], plan)
    timed = only(made).timed_bias
    assert timed is not None
    assert timed.shape == (8, 1, 1)
    gaps = [float(mean_gap(graph, made, x, steps=t).abs()) for t in range(1, 1 + max(lengths))]
    assert max(gaps) < 1e-6


def test_what_waits_has_no_bias_for_each_step() -> None:
    graph = neurons(1)
    waits = replace(context(graph, [torch.ones(1, 1, 1)]), schedule="layers")
    with pytest.raises(CalibrationError, match="waits for all steps") as caught:
        run_stages(waits, parse_stages("mse+ftbc"))
    assert "bias" in caught.value.hint


@given(SEEDS)
@settings(max_examples=15)
def test_replay_is_the_simulation(seed: int) -> None:
    graph = random_graph(seed)
    plan, x = dyadic_plan(graph, seed, timed_bias=True), images(graph, seed, 5)
    expected = simulate(to_spiking(graph, plan), x, steps=STEPS).outputs[0]
    assert torch.equal(replayed(graph, plan, x, STEPS), expected)


def test_replay_keeps_the_signs_of_layers_that_need_them() -> None:
    maker = Maker(np.random.default_rng(2), (6,))
    x = maker.emit("leaky_relu", maker.linear("input", 8), maker.tensor(torch.full((8,), 0.5)))
    graph = maker.graph(maker.linear(x, 3))
    plan, x = dyadic_plan(graph, 2), images(graph, 2, 5)
    run = simulate(to_spiking(graph, plan), x, steps=STEPS)
    assert torch.equal(replayed(graph, plan, x, STEPS), run.outputs[0])


@given(SEEDS)
@settings(max_examples=10)
def test_replay_simulates_shifts_and_weights(seed: int) -> None:
    graph = random_graph(seed)
    plan, x = dyadic_plan(graph, seed), images(graph, seed, 4)
    name = graph.by_name[graph.outputs[0]].inputs[2]
    plan = replace(
        plan,
        weights={name: graph.tensors[name] + 0.5},
        sites={n: replace(p, shift=torch.tensor(0.125)) for n, p in plan.sites.items()},
    )
    expected = simulate(to_spiking(graph, plan), x, steps=STEPS).outputs[0]
    assert torch.equal(replayed(graph, plan, x, STEPS), expected)


@given(SEEDS, st.sampled_from(["bias:steps=8", "potential:steps=8", "ftbc:steps=8"]))
@settings(max_examples=15)
def test_no_mean_output_gets_worse(seed: int, text: str) -> None:
    rng = np.random.default_rng(seed)
    maker = Maker(rng, (2, 5, 4))
    graph = maker.graph(maker.relu(maker.conv("input", 3, padding=1)))
    plan, x = dyadic_plan(graph, seed), images(graph, seed, 8)
    better = corrected(text, graph, [x], plan)
    if text.startswith("ftbc"):  # the mean of all steps together
        gaps = [
            [mean_gap(graph, p, x, steps=t).mean((1, 2)) for t in range(1, 9)]
            for p in (plan, better)
        ]
        before, after = (torch.stack(each).abs().sum(0) for each in gaps)
        assert bool((after <= before + 1e-6).all())
        return
    before, after = mean_gap(graph, plan, x), mean_gap(graph, better, x)
    if text.startswith("bias"):  # only a channel's mean is corrected
        before, after = before.mean((1, 2)), after.mean((1, 2))
    assert bool((after.abs() <= before.abs() + 1e-6).all())


@given(SEEDS, st.sampled_from(["bias:steps=8", "potential:steps=8", "bias:steps=8+potential"]))
@settings(max_examples=15)
def test_batches_make_no_difference(seed: int, text: str) -> None:
    graph = random_graph(seed)
    plan, x = dyadic_plan(graph, seed), images(graph, seed, 8)
    whole = corrected(text, graph, [x], plan)
    split = corrected(text, graph, [x[:3], x[3:]], plan)
    again = corrected(text, graph, [x], plan)
    for name, planned in whole.sites.items():
        for field, value in planned.tensors().items():
            assert torch.equal(value, split.sites[name].tensors()[field])
            assert torch.equal(value, again.sites[name].tensors()[field])


def test_samples_beyond_the_limit_are_not_read() -> None:
    graph = random_graph(3)
    plan, x = dyadic_plan(graph, 3), images(graph, 3, 8)
    text = "potential:steps=8,samples=4"
    part, whole = (corrected(text, graph, [b], plan) for b in (x[:4], x))
    for name, planned in part.sites.items():
        assert torch.equal(planned.potential, whole.sites[name].potential)


def _sums(net_graph: Graph, plan: Plan, x: Tensor, site: str, at: Sequence[int]) -> list[Tensor]:
    """Mean output of `site` over the first t steps, from the simulator."""
    seen = []

    def watch(node: Node, _: range, values: Tensor) -> None:
        if node.name == site:
            seen.append(values.clone())

    simulate(to_spiking(net_graph, plan), x, steps=max(at), observe=watch)
    out = torch.cat(seen)
    return [out[:t].mean(0) for t in at]


def test_weights_are_the_least_squares_solution() -> None:
    rng = np.random.default_rng(5)
    maker = Maker(rng, (4,), exact=False)
    hidden = maker.relu(maker.linear("input", 6))
    graph = maker.graph(maker.linear(hidden, 3)).to(torch.float64)
    x = torch.from_numpy(rng.normal(0, 1, (64, 4)))
    tops = run(graph, x, keep=[hidden])[hidden].amax()
    plan = Plan({hidden: SitePlan(0.4 * tops, 0.2 * tops)})
    found = corrected(
        "weights:steps=16,ridge=1e-9,strength=1,potential=0", graph, [x[:40], x[40:]], plan
    )

    wanted = run(graph, x)[graph.outputs[0]]
    rows, targets = [], []
    for t, mean in zip((8, 16), _sums(graph, plan, x, hidden, (8, 16)), strict=True):
        rows.append(t * np.hstack([mean.numpy(), np.ones((64, 1))]))
        targets.append(t * wanted.numpy())
    best = np.linalg.lstsq(np.vstack(rows), np.vstack(targets), rcond=None)[0]
    _, weight, bias = graph.nodes[-1].inputs
    np.testing.assert_allclose(found.weights[weight].numpy(), best[:-1].T, atol=1e-5)
    np.testing.assert_allclose(found.weights[bias].numpy(), best[-1], atol=1e-5)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_refitted_convolutions_err_less(groups: int, stride: int) -> None:
    rng = np.random.default_rng(groups)
    maker = Maker(rng, (2, 6, 6), exact=False)
    inner = maker.relu(maker.conv("input", 4, padding=1))
    last = maker.conv(inner, 4, padding=1, groups=groups, stride=stride)
    graph = maker.graph(last)
    x = torch.from_numpy(rng.normal(0, 1, (32, 2, 6, 6))).float()
    plan = run_stages(context(graph, [x]), parse_stages("mse:steps=4"))
    found = corrected("weights:steps=8,ridge=1e-4,strength=1,potential=0", graph, [x], plan)
    wanted = run(graph, x)[last]
    before, after = (
        float(((simulate(to_spiking(graph, p), x, steps=8).outputs[0][-1] - wanted) ** 2).mean())
        for p in (plan, found)
    )
    assert set(found.weights) == set(graph.by_name[last].inputs[1:])
    assert after < before


@pytest.mark.parametrize(("side", "images_"), [(2, 256), (1024, 32), (1 << 14, 8)])
def test_large_networks_are_fitted_to_fewer_images(side: int, images_: int) -> None:
    graph = neurons(side * 1024)
    assert affordable(context(graph, []), 32) == images_


@pytest.mark.parametrize("schedule", ["steps", "layers"])
@pytest.mark.parametrize("neuron", ["if", "signed", "levels:n=4", "burst"])
def test_a_replay_holds_what_was_said_beforehand(neuron: str, schedule: str) -> None:
    graph = random_graph(3)
    x = images(graph, 3, 4)
    plan = dyadic_plan(graph, 3)
    given_ = Context(graph, [x], neuron, ENCODERS.create("direct"), STEPS, 0, schedule)
    replay = Replay(given_, plan, STEPS, len(x))
    most = 0
    for _ in replay.layers():
        (held,) = replay._batches
        kept = [held.original[name] for name in held.original]
        for sent in held.sent.values():
            kept += [sent.data, *([] if sent.negative is None else [sent.negative])]
        most = max(most, sum({v.data_ptr(): v.nbytes for v in kept}.values()) // len(x))
    assert 0 < most <= 2 * bytes_held(given_, STEPS)  # the network is in float64


def test_strength_is_the_part_of_the_change_that_is_kept() -> None:
    rng = np.random.default_rng(3)
    maker = Maker(rng, (4,), exact=False)
    hidden = maker.relu(maker.linear(maker.relu(maker.linear("input", 6)), 5))
    graph = maker.graph(maker.linear(hidden, 3))
    x = torch.from_numpy(rng.normal(0, 1, (64, 4))).float()
    plan = run_stages(context(graph, [x]), parse_stages("mse:steps=4"))
    whole, part = (corrected(f"weights:strength={s}", graph, [x], plan) for s in (1, 0.25))
    assert whole.weights
    for name, weight in whole.weights.items():
        moved = weight - graph.tensors[name]
        torch.testing.assert_close(part.weights[name] - graph.tensors[name], moved / 4)
    for name, planned in whole.sites.items():
        assert torch.equal(part.sites[name].potential, planned.potential)


@pytest.mark.parametrize(("steps", "strength"), [(1, 1.0), (8, 1.0), (9, 0.5), (64, 0.5)])
def test_few_steps_take_on_the_whole_change(steps: int, strength: float) -> None:
    maker = Maker(np.random.default_rng(3), (4,), exact=False)
    graph = maker.graph(maker.linear(maker.relu(maker.linear("input", 6)), 3))
    x = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
    asked = replace(context(graph, [x]), steps=steps)
    usual, named = (
        run_stages(asked, parse_stages(f"mse:steps=4+weights{how}"))
        for how in ("", f":strength={strength}")
    )
    assert usual.record[-1]["strength"] == strength
    assert usual.weights
    for name, weight in usual.weights.items():
        assert torch.equal(weight, named.weights[name])


def test_shared_weights_are_left_alone() -> None:
    maker = Maker(np.random.default_rng(1), (4,), exact=False)
    x = maker.relu(maker.linear("input", 4))
    names = [maker.tensor(maker.draw(4, 4)), maker.tensor(maker.draw(4))]
    x = maker.relu(maker.emit("linear", x, *names))
    graph = maker.graph(maker.emit("linear", x, *names))
    batch = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    plan = run_stages(context(graph, [batch]), parse_stages("mse+weights"))
    assert not plan.weights


@pytest.mark.parametrize("stage", ["bias", "ftbc", "potential", "weights"])
def test_a_correction_needs_thresholds(stage: str) -> None:
    graph = random_graph(1)
    with pytest.raises(CalibrationError, match="has no threshold") as caught:
        run_stages(context(graph, [images(graph, 1, 2)]), parse_stages(stage))
    assert caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "bias:steps=0", "bias:samples=0", "potential:sweeps=0", "potential:per=layer",
        "weights:ridge=0", "weights:strength=0", "weights:strength=1.5",
        "weights:potential=-1", "ftbc:rate=0", "ftbc:rate=1.5", "ftbc:samples=0",
        "balance:batches=0", "balance:rate=0",
    ],
)  # fmt: skip
def test_options_that_cannot_be_used(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_stages(text)


def test_balance_climbs_by_the_mean_excess() -> None:
    graph = neurons(2)
    x = torch.tensor([[[1.0, 0.5]]])
    # 0 -> .5 * (1 + .5) / 2 = .375 -> + .5 * (.625 + .125) / 2 = .5625 -> + .5 * .4375 / 2
    for batches, expected in ((1, 0.375), (2, 0.5625), (3, 0.671875)):
        plan = run_stages(
            context(graph, [x]), parse_stages(f"balance:rate=0.5,batches={batches},potential=0.25")
        )
        assert float(only(plan).threshold) == pytest.approx(expected)
        assert float(only(plan).potential) == pytest.approx(expected / 4)


def test_balance_sees_clipped_activations_before() -> None:
    maker = Maker(np.random.default_rng(0), (1, 1))
    first = maker.relu("input")
    second = maker.relu(maker.emit("identity", first))
    graph = maker.graph(second)
    plan = run_stages(
        context(graph, [torch.ones(1, 1, 1)]), parse_stages("balance:rate=0.5,batches=1")
    )
    assert float(plan.sites[first].threshold) == 0.5
    assert float(plan.sites[second].threshold) == 0.25


@pytest.fixture(scope="module")
def digits() -> tuple[Graph, list[Tensor], Tensor]:
    """The zoo's digit network, calibration images, and training images kept apart from them."""
    entry = MODELS.create("mnist5k-cnn")
    assert entry.data is not None
    part = open_data(
        entry.data, input_shape=entry.input_shape, preprocessing=entry.preprocessing
    ).train
    batches = [x for x, _ in part.batches(32, indices=range(0, 512, 8))]
    apart = torch.cat([x for x, _ in part.batches(32, indices=range(1, 512, 8))])
    return apply_exact(load_module(entry.module(), apart[:4]), apart[:4], EXACT), batches, apart


@pytest.mark.parametrize("text", ["bias:steps=8", "potential:steps=8", "weights:steps=16"])
def test_a_real_network_errs_less_on_other_images(
    digits: tuple[Graph, list[Tensor], Tensor], text: str
) -> None:
    graph, batches, apart = digits
    plan = run_stages(context(graph, batches), parse_stages("mse:steps=4"))
    found = corrected(text, graph, batches, plan)

    def error(planned: Plan) -> float:
        wanted = run(graph, apart)[graph.outputs[0]]
        return float(((replayed(graph, planned, apart, STEPS)[-1] - wanted) ** 2).mean())

    assert error(found) < error(plan)
