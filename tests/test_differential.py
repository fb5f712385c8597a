"""Differential coding: a spike is a change of the mean; and thresholds by a fixed point."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from calibrate import parse_stages
from calibrate.defaults import default_stages
from calibrate.fixed_point import fixed_points, squared_error
from convsnn.errors import ConfigError, UnsupportedError
from convsnn.graph import Graph, Node, run
from convsnn.measure import evaluate
from convsnn.measure.energy import Asked, Estimate, Measured, estimate
from convsnn.measure.listening import listen
from convsnn.neurons import NEURONS
from convsnn.neurons.base import sends_changes
from convsnn.neurons.levels import Levels
from convsnn.simulate import Run, Simulation, SpikingModule, record, simulate
from convsnn.simulate.program import Program
from convsnn.spiking.network import Spiking, scheduled
from convsnn.workflows.convert.network import convert

RATE, CHANGES = "levels:n=8", "levels:n=8,differential=true"


def neuron(
    n: int = 8, *, coding: bool = True, threshold: float = 1.0, dead_zone: float = 0.5
) -> Levels:
    slope = torch.ones(()) if coding else None
    top = torch.tensor(threshold)
    return Levels(top, slope=slope, n=n, differential=True, dead_zone=dead_zone)


def drawn(seed: int, *, size: float = 1.0, steps: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return size * (2 * torch.rand(steps, 40, generator=generator, dtype=torch.float64) - 1)


def test_four_steps_by_hand() -> None:
    """Threshold 1, two sizes, a current of 0.75 and then of -0.5: V = S - t m, m += s / t."""
    currents = torch.tensor([0.75, 0.75, -0.5, -0.5], dtype=torch.float64)[:, None]
    spikes, means, state = neuron(2).changes(currents)
    # V: 0.75 | 1.5 - 2 = -0.5 | 1 - 3 * 0.75 = -1.25 | 0.5 - 4 * (0.75 - 1/3) = -7/6
    assert spikes[:, 0].tolist() == [1.0, -0.5, -1.0, -1.0]
    held = [0.0, 1.0, 0.75, 0.75 - 1 / 3, 0.75 - 1 / 3 - 0.25]
    torch.testing.assert_close(means[:, 0], torch.tensor(held, dtype=torch.float64))
    torch.testing.assert_close(state.potential, torch.tensor([-1 / 6], dtype=torch.float64))
    out, _ = neuron(2).scan(currents)
    torch.testing.assert_close(out[:, 0], means[:-1, 0] + spikes[:, 0])


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 999),
    n=st.integers(1, 12),
    size=st.sampled_from([0.3, 1.0, 2.5]),
    cut=st.integers(1, 11),
    coding=st.booleans(),
)
def test_what_is_passed_on_adds_up_to_the_mean(
    seed: int, n: int, size: float, cut: int, coding: bool
) -> None:
    currents, made = drawn(seed, size=size), neuron(n, coding=coding, threshold=0.75)
    out, after = made.scan(currents)
    spikes, means, _ = made.changes(currents)
    time = torch.arange(1, 13, dtype=torch.float64)[:, None]
    torch.testing.assert_close(out.cumsum(0), time * means[1:])
    torch.testing.assert_close(means[1:], (spikes / time).cumsum(0))
    assert set((spikes / 0.75).abs().unique().tolist()) <= {0.0, *(2.0**-k for k in range(n))}
    # what is left after a step: a third of the potential, half of the smallest size, or what no
    # size reaches
    wanted = currents.cumsum(0) if coding else currents.cumsum(0).clamp(min=0)
    potential = (wanted - time * means[:-1]).abs() / 0.75
    left = (wanted - time * means[1:]).abs() / 0.75
    small = 2.0**-n if coding else 2.0 ** (1 - n)  # a smaller one than was sent is not taken back
    bound = torch.maximum(potential - 1, potential / 3).clamp(min=small)
    if coding:
        assert bool((left <= bound + 1e-9).all())
    else:
        assert bool((means >= -1e-12).all())
    first, state = made.scan(currents[:cut])
    second, last = made.scan(currents[cut:], state)
    assert torch.equal(torch.cat([first, second]), out)
    assert torch.equal(last.potential, after.potential)


@settings(max_examples=60, deadline=None)
@given(
    value=st.floats(-1.5, 1.5),
    n=st.integers(1, 12),
    threshold=st.sampled_from([0.25, 3.0]),
    dead=st.sampled_from([0.5, 0.75, 1.0]),
)
def test_a_constant_is_held_ever_more_closely(
    value: float, n: int, threshold: float, dead: float
) -> None:
    steps = 24
    currents = torch.full((steps, 1), value * threshold, dtype=torch.float64)
    spikes, means, _ = neuron(n, threshold=threshold, dead_zone=dead).changes(currents)
    time = torch.arange(1, steps + 1, dtype=torch.float64)
    bound = torch.maximum(dead * 2.0 ** (1 - n) / time, abs(value) / 3.0**time)
    assert bool(((means[1:, 0] / threshold - value).abs() <= bound + 1e-9).all())
    small = abs(value) * time / 3.0**time < 2.0**-n  # from then on it is the smallest size at most
    late = spikes[2:, 0].abs()[small[1:-1]] / threshold
    assert bool((late <= 2.0 ** (1 - n) * (1 + 1e-9)).all())


@settings(max_examples=40, deadline=None)
@given(value=st.floats(-1.5, 1.5), n=st.integers(1, 8))
def test_with_a_dead_zone_a_constant_comes_to_rest(value: float, n: int) -> None:
    currents = torch.full((64, 1), value, dtype=torch.float64)
    spikes, _, _ = neuron(n, dead_zone=1.0).changes(currents)
    assert int((spikes[8:] != 0).sum()) <= 2  # the next one is due at step 9 * 8


def test_a_sum_of_two_sizes_is_sent_once() -> None:
    values = torch.tensor([0.0, 1.0, -0.5, 0.625, -0.75, 0.5625, 2.0**-7, 1.25], dtype=torch.double)
    spikes, means, _ = neuron(8).changes(values.expand(30, -1))
    assert bool((spikes[2:] == 0).all())
    torch.testing.assert_close(means[-1], values)
    constant, _ = Levels(torch.tensor(1.0), slope=torch.ones(()), n=8).scan(values.expand(30, -1))
    assert int((spikes != 0).sum()) < int((constant != 0).sum()) / 10


def graph() -> Graph:
    """A layer, GELU, a layer, a rectifier, pooling of spikes, a layer; (3, 4, 4) in, 5 out."""
    draw = torch.Generator().manual_seed(1)
    shapes = {"w0": (4, 3, 3, 3), "w1": (4, 4, 1, 1), "w2": (5, 4)}
    tensors = {n: torch.randn(*s, generator=draw, dtype=torch.float64) for n, s in shapes.items()}
    one = {"stride": [1, 1], "padding": [0] * 4, "dilation": [1, 1], "groups": 1}
    half = {"kernel": [2, 2], "stride": [2, 2], "padding": [0] * 4, "dilation": [1, 1]}
    nodes = [
        Node("x", "input", (), {"shape": [3, 4, 4]}),
        Node("first", "conv", ("x", "w0"), {**one, "padding": [1] * 4}),
        Node("gelu", "gelu", ("first",)),
        Node("second", "conv", ("gelu", "w1"), one),
        Node("relu", "relu", ("second",)),
        Node("pooled", "max_pool", ("relu",), half),
        Node("mean", "mean", ("pooled",), {"dims": [2, 3], "keepdim": False}),
        Node("out", "linear", ("mean", "w2")),
    ]
    return Graph(tuple(nodes), tensors, ("out",))


def images(count: int = 6) -> Tensor:
    return torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(3)).double()


def network(spec: str = CHANGES, *, steps: int = 8) -> Spiking:
    x = images()
    stages = parse_stages("max:potential=0+coding:rule=fixed-point")
    return convert(graph(), x[:2], [x], stages, steps=steps, neuron=spec, schedule="steps")


def ran(net: Spiking, steps: int = 8, **given: int) -> tuple[Run, dict[str, Tensor]]:
    sent: dict[str, list[Tensor]] = {}
    got = simulate(
        net, images(), steps=steps, **given,
        observe=lambda node, _, value: sent.setdefault(node.name, []).append(value),
    )  # fmt: skip
    return got, {name: torch.cat(parts) for name, parts in sent.items()}


def test_a_network_is_exact_given_the_changes_that_it_sends() -> None:
    net = network()
    got, sent = ran(net, chunk=3)
    time = torch.arange(1, 9, dtype=torch.float64)
    for steps in range(1, 9):
        means = {
            n: (sent[n][:steps] / time[:steps].reshape(-1, *[1] * (sent[n].dim() - 1))).sum(0)
            for n in net.graph.sites
        }
        wanted = run(net.body, images(), start=means)["out"]
        torch.testing.assert_close(got.outputs[0][steps - 1], wanted)
    whole, _ = ran(net)
    torch.testing.assert_close(got.outputs[0], whole.outputs[0])
    for name in net.graph.sites:
        assert torch.equal(got.spikes[name], (sent[name] != 0).flatten(2).sum(2))


def test_what_stands_between_sends_where_the_mean_changes() -> None:
    """A pool says so where the largest mean of a window does; where nothing changes, nothing is."""
    net = network()
    assert not {"pooled", "mean"} & net.graph.sites.keys()
    got, sent = ran(net, 12, chunk=5)
    time = torch.arange(1, 13, dtype=torch.float64).reshape(-1, 1, 1, 1, 1)
    held = (sent["relu"] / time).cumsum(0)
    largest = torch.nn.functional.max_pool2d(held.flatten(0, 1), 2).unflatten(0, (12, -1))
    average = torch.cat([torch.zeros_like(largest[:1]), largest]).mean((3, 4)).diff(dim=0)
    torch.testing.assert_close(sent["mean"], average)
    assert int(got.spikes["mean"].sum()) <= int((average.abs() > 0).sum())
    quiet = (sent["relu"] == 0).flatten(2).all(2)
    assert bool((got.spikes["mean"][quiet] == 0).all())


def test_it_is_closer_and_sends_less() -> None:
    wanted = run(graph(), images())["out"]
    gaps, spikes = {}, {}
    for spec in (RATE, CHANGES):
        got, _ = ran(network(spec, steps=16), 16)
        gaps[spec] = [float((got.outputs[0][t - 1] - wanted).norm()) for t in (4, 8, 16)]
        spikes[spec] = sum(int(events.sum()) for events in got.spikes.values())
    assert all(mine < theirs / 2 for mine, theirs in zip(gaps[CHANGES], gaps[RATE], strict=True))
    assert spikes[CHANGES] < spikes[RATE]


def test_whoever_looks_sees_spikes() -> None:
    net, x = network(), images()
    seen = record(net, x, steps=8, layers=["relu"])
    got, sent = ran(net)
    torch.testing.assert_close(seen.values["relu"], sent["relu"])
    _, heard = listen(net, x, steps=8, ids=torch.arange(len(x)))
    time = torch.arange(1, 9, dtype=torch.float64).reshape(-1, 1, 1, 1, 1)
    torch.testing.assert_close(heard["relu"].mean_output, (sent["relu"] / time).sum(0))
    run_, _ = listen(net, x, steps=8, ids=torch.arange(len(x)))
    assert torch.equal(run_.spikes["relu"], got.spikes["relu"])
    going = Simulation(Program(net), x)
    whole = torch.cat([going.advance(part)[0] for part in going.chunks(3)])
    going.keep(torch.tensor([0, 2]))  # the others have left
    later = torch.cat([going.advance(part)[0] for part in going.chunks(8, first=3)])
    torch.testing.assert_close(whole, got.outputs[0][:3])
    torch.testing.assert_close(later, got.outputs[0][3:, [0, 2]])


def priced(net: Spiking) -> Estimate:
    got = evaluate(net, [(images(), None)], steps=4)
    assert got.seen is not None
    return estimate(net, Measured(got.activity, got.seen), Asked((), 8, floats=False))


def test_what_is_held_is_charged_at_every_step() -> None:
    rate, changes = priced(network(RATE, steps=4)), priced(network(CHANGES, steps=4))
    neurons = 2 * 64
    behind = 64 + 5  # the second layer and the last one
    steps = torch.arange(1, 5, dtype=torch.float64)
    for item, times in (("kept_currents", 2), ("scalings", 1), ("state_accesses", 2)):
        before = rate.counts["spiking"].get(item, torch.zeros(4, dtype=torch.float64))
        more = changes.counts["spiking"][item] - before
        assert more.tolist() == (times * (neurons + behind) * steps).tolist(), item
    words = changes.form.state / 8
    assert float(changes.footprint["spiking"] - rate.footprint["spiking"]) == pytest.approx(
        words * (neurons + behind)
    )


@pytest.mark.parametrize("pooled", [False, True])
def test_a_shortcut_is_held_where_it_is_added(pooled: bool) -> None:
    """As many values as arrive without weights, in the rows and in the footprint alike."""
    draw = torch.Generator().manual_seed(2)
    shape = (4, 4, 1, 1)
    weights = {n: torch.randn(shape, generator=draw, dtype=torch.float64) for n in ("w0", "w1")}
    one = {"stride": [1, 1], "padding": [0] * 4, "dilation": [1, 1], "groups": 1}
    pool = {"kernel": [3, 3], "stride": [1, 1], "padding": [1] * 4, "dilation": [1, 1]}
    nodes = [
        Node("x", "input", (), {"shape": [4, 4, 4]}),
        Node("first", "conv", ("x", "w0"), one),
        Node("relu", "relu", ("first",)),
        Node("second", "conv", ("relu", "w1"), one),
        *([Node("pooled", "max_pool", ("relu",), pool)] if pooled else []),
        Node("sum", "add", ("second", "pooled" if pooled else "relu")),
        Node("last", "relu", ("sum",)),
        Node("out", "mean", ("last",), {"dims": [2, 3], "keepdim": False}),
    ]
    made, x = Graph(tuple(nodes), weights, ("out",)), torch.rand(3, 4, 4, 4, dtype=torch.float64)
    footprints, held = [], []
    for spec in (RATE, CHANGES):
        net = convert(made, x[:2], [x], parse_stages("max"), steps=4, neuron=spec, schedule="steps")
        got = evaluate(net, [(x, None)], steps=4)
        assert got.seen is not None
        found = estimate(net, Measured(got.activity, got.seen), Asked((), 8, floats=False))
        held.append(found.counts["spiking"].get("kept_currents", torch.zeros(4)))
        footprints.append(float(found.footprint["spiking"]) / (found.form.state / 8))
    # two populations of 64, a layer of 64 behind the first, and its shortcut
    assert footprints[1] - footprints[0] == pytest.approx(4 * 64)
    more = held[1] - held[0]
    assert more.tolist() == [2 * 4 * 64 * t for t in (1, 2, 3, 4)]


def test_what_cannot_send_changes_says_so() -> None:
    x = images()
    for wrong in ("dead_zone=1", "dead_zone=0.4,differential=true", "differential=maybe"):
        with pytest.raises(ConfigError):
            NEURONS.create(f"levels:{wrong}", threshold=1.0)
    assert sends_changes(NEURONS.create(CHANGES, threshold=1.0))
    assert not sends_changes(NEURONS.create(RATE, threshold=1.0))
    net = convert(graph(), x[:2], [x], parse_stages("max"), steps=2, neuron=CHANGES)
    assert net.schedule == "steps"  # where nothing is asked for, as these cannot wait
    with pytest.raises(ConfigError, match="changes of what it sent") as refused:
        scheduled(net, "layers")
    assert "--schedule steps" in (refused.value.hint or "")
    nodes = (Node("x", "input", (), {"shape": [3]}), Node("relu", "relu", ("x",)))
    plain = Graph((*nodes, Node("out", "linear", ("relu", "w"))), {"w": torch.ones(2, 3)}, ("out",))
    few = torch.rand(8, 3)
    made = convert(plain, few[:2], [few], parse_stages("max"), steps=2, neuron=CHANGES)
    with pytest.raises(UnsupportedError, match="differential form"):
        SpikingModule(made, steps=2)


@pytest.mark.parametrize("n", [1, 2, 4, 8])
def test_the_fixed_point_is_the_best_threshold(n: int) -> None:
    mean = torch.tensor([0.0, 0.7, -4.0, 0.0], dtype=torch.float64)
    deviation = torch.tensor([1.0, 0.5, 0.25, 30.0], dtype=torch.float64)
    found = fixed_points(mean, deviation**2, n)
    grid = torch.linspace(0.02, 6, 300, dtype=torch.float64)[:, None] * (mean.abs() + deviation)
    errors = squared_error(mean, deviation, grid, n)
    least = squared_error(mean, deviation, found, n)
    assert bool((least <= errors.amin(0) * (1 + 1e-9)).all())
    draw = torch.Generator().manual_seed(0)
    x = mean + deviation * torch.randn(20_000, 4, generator=draw, dtype=torch.float64)
    sent = Levels(found, slope=torch.ones(()), n=n).scan(x[None])[0][0]
    torch.testing.assert_close(((sent - x) ** 2).mean(0), least, rtol=0.1, atol=0)
    # one more step of the iteration stays where it is
    q = sent / found
    torch.testing.assert_close((x * q).sum(0) / (q**2).sum(0), found, rtol=0.02, atol=0)


def test_neurons_that_send_the_nearest_size_start_at_zero() -> None:
    found = [default_stages("levels:n=4", s, smooth=f) for s, f in (("layers", False),
             ("layers", True), ("steps", True))]  # fmt: skip
    assert all("potential=0" in stages for stages in found)
    x, gaps = images(32), []
    wanted = run(graph(), x)["out"]
    for stages in ("max:potential=0+coding", found[1], "mse+coding"):
        net = convert(graph(), x[:2], [x], parse_stages(stages), steps=4, neuron="levels:n=4")
        got = simulate(net, x, steps=4).outputs[0][-1]  # layer by layer, through a pool of spikes
        gaps.append(float((got - wanted).norm() / wanted.norm()))
    assert gaps[0] < 0.03
    assert gaps[1] < gaps[2]


def test_odd_channels_have_a_threshold() -> None:
    mean, variance = torch.tensor([0.0, 2.0, -3.0]), torch.tensor([0.0, 0.0, -1e-12])
    found = fixed_points(mean, variance, 4)
    assert bool(found.isfinite().all())
    torch.testing.assert_close(found[1:], torch.tensor([2.0, 3.0]).double())
    x = images(64)
    net = convert(graph(), x[:2], [x], parse_stages("max+coding:rule=fixed-point"), steps=4)
    name = next(n for n, site in net.graph.sites.items() if site.kind == "code")
    values = run(net.graph, x, keep=[name])[name].movedim(1, 0).flatten(1)
    wanted = fixed_points(values.mean(1), values.var(1, correction=0), 8)
    torch.testing.assert_close(net.plan.sites[name].threshold.flatten(), wanted)
