"""Temporal-switch coding against what it computes: a staircase network, in exact arithmetic.

Every activation is rounded to one of window + 1 levels of its threshold; `staircases` runs the
source network with such activations, without any time steps.
"""

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from math import floor
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Maker, dyadic_plan, images, random_graph, real
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from calibrate import parse_stages
from convsnn.encoders import ENCODERS
from convsnn.errors import CalibrationError, ConfigError, UnsupportedError
from convsnn.export import load_artifact, save_artifact
from convsnn.graph import Graph, run
from convsnn.graph.ops import OPS, Role
from convsnn.measure.decomposition import decompose
from convsnn.neurons import NEURONS
from convsnn.readouts import READOUTS
from convsnn.simulate import Engine, Program, Simulation, simulate
from convsnn.spiking.network import Spiking, to_spiking
from convsnn.spiking.plan import Context, Plan
from convsnn.spiking.turns import turns
from convsnn.workflows.convert.network import convert

SEEDS = st.integers(0, 2**32 - 1)
ALL = {"neuron": "tsc", "encoder": "tsc", "readout": "switch"}
EIGHTHS = st.integers(-16, 16).map(lambda k: Fraction(k, 8))


def steps_of(graph: Graph, window: int) -> int:
    return 1 + (max(turns(graph)[name] for name in graph.outputs) + 1) * window


def network(graph: Graph, plan: Plan, window: int, x: Iterable[Tensor] = ()) -> Spiking:
    """A network whose input has a scale of one."""
    neuron, encoder = f"tsc:window={window}", f"tsc:window={window},scale=1"
    given_ = Context(graph, list(x), neuron, ENCODERS.create(encoder), 1, 0)
    (stage,) = parse_stages("tsc")
    return to_spiking(
        graph,
        stage(given_, plan),
        neuron=neuron,
        encoder=encoder,
        readout=f"switch:window={window}",
    )


def staircases(net: Spiking, x: Tensor, window: int) -> Tensor:
    """The output of the source network with rounded activations and inputs."""
    values: dict[str, Tensor] = {}
    for node in net.graph.nodes:
        known = {**net.graph.tensors, **values}
        if node.role is Role.INPUT:
            sizes = torch.floor(x.abs() * window + 0.5).clamp(max=window) / window
            values[node.name] = x.sign() * sizes
        elif node.role is Role.ACTIVATION:
            planned = net.plan.sites[node.name]
            before = known[node.inputs[0]] + (0 if planned.shift is None else planned.shift)
            level = torch.floor(before / planned.threshold * window + 0.5).clamp(0, window)
            values[node.name] = level / window * planned.threshold
        else:
            values[node.name] = OPS[node.op].run(*(known[i] for i in node.inputs), **node.attrs)
    return values[net.graph.outputs[0]]


@given(
    bias=EIGHTHS,
    inputs=st.lists(st.tuples(EIGHTHS, st.integers(0, 8)), max_size=4),
    threshold=st.integers(1, 16).map(lambda k: Fraction(k, 8)),
    turn=st.integers(1, 3),
    cut=st.integers(1, 32),
)
def test_a_neuron_by_hand(
    bias: Fraction, inputs: list[tuple[Fraction, int]], threshold: Fraction, turn: int, cut: int
) -> None:
    """Pairs of weight w and gap g add w g; the bias adds for one window, whatever the turn."""
    window, steps = 8, 33
    currents = [bias] * steps
    for weight, gap in inputs:  # sent in the window before the neuron's own
        first = 1 + (turn - 1) * window
        currents[first] += weight
        currents[first + gap] -= weight
    charge = window * bias + sum(weight * gap for weight, gap in inputs)
    gap = min(max(floor(charge / threshold + Fraction(1, 2)), 0), window)
    wanted = [Fraction(0)] * (steps + 1)
    wanted[1 + turn * window] += threshold
    wanted[1 + turn * window + gap] -= threshold

    neuron = NEURONS.create(f"tsc:window={window}", threshold=float(threshold), turn=float(turn))
    z = torch.tensor([float(c) for c in currents]).reshape(-1, 1, 1)
    out, state = neuron.scan(z[:cut])
    late, _ = neuron.scan(z[cut:], state)
    assert torch.cat([out, late]).flatten().tolist() == [float(w) for w in wanted[:steps]]


@settings(max_examples=8)
@given(seed=SEEDS, window=st.sampled_from([1, 4, 8]))
def test_a_network_is_its_staircases_to_the_last_bit(seed: int, window: int) -> None:
    """Residual sums, concatenations, grouped layers, pools, shifts, thresholds per channel."""
    graph = random_graph(seed)
    try:
        net = network(graph, dyadic_plan(graph, seed), window)
    except UnsupportedError:
        assume(False)
    x, steps = images(graph, seed, 3), steps_of(graph, window)
    result = simulate(net, x, steps=steps, chunk=5)
    assert torch.equal(result.outputs[0][-1], staircases(net, x, window))


@settings(max_examples=5)
@given(seed=SEEDS)
def test_two_spikes_a_neuron_at_most_and_none_before_its_turn(seed: int) -> None:
    graph = random_graph(seed)
    try:
        net = network(graph, dyadic_plan(graph, seed), 4)
    except UnsupportedError:
        assume(False)
    steps = steps_of(graph, 4)
    found = turns(graph)
    seen: dict[str, Tensor] = {}
    simulate(
        net,
        images(graph, seed, 2),
        steps=steps,
        chunk=steps,
        observe=lambda node, _, value: seen.__setitem__(node.name, value),
    )
    for name in (graph.input.name, *graph.sites):
        spikes, first = seen[name], 1 + found[name] * 4
        assert int((spikes != 0).sum(0).max()) <= 2
        assert not spikes[:first].any()
        assert not spikes[first + 5 :].any()
        if first + 5 <= steps:
            assert not spikes.sum(0).any()  # whatever is switched on is switched off


def test_two_layers_tend_to_the_source_network() -> None:
    maker = Maker(np.random.default_rng(0), (6,), exact=False)
    hidden = maker.relu(maker.linear(maker.relu(maker.linear("input", 16)), 8))
    graph = maker.graph(maker.linear(hidden, 3))
    x = real(maker.rng, (20, 6)) * 3
    wanted, errors = run(graph, x)[graph.outputs[0]], []
    for window in (4, 16, 64):
        steps = 1 + 3 * window
        net = convert(graph, x, [x], parse_stages("max+tsc"), steps=steps, **ALL)
        assert net.neuron == f"tsc:window={window}"
        errors.append(float((simulate(net, x, steps=steps).outputs[0][-1] - wanted).abs().mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 8  # as 1 / window, within a factor of two


def chain(*ops: str) -> tuple[Graph, Plan]:
    """Layers on an image, a fully connected one behind them, and thresholds of one."""
    maker, x = Maker(np.random.default_rng(1), (2, 8, 8)), "input"
    for op in ops:
        x = maker.conv(x, 2, padding=1) if op == "conv" else getattr(maker, op)(x)
    graph = maker.graph(maker.linear(maker.flatten(x), 3))
    return graph, dyadic_plan(graph, 1)


def test_before_the_last_turn_the_answer_is_the_bias_and_afterwards_it_stays() -> None:
    graph, plan = chain("conv", "relu", "conv", "relu")
    net, x = network(graph, plan, 4), images(graph, 1, 2)
    outputs = simulate(net, x, steps=20).outputs[0]
    last = graph.by_name[graph.outputs[0]]
    assert torch.equal(outputs[:9], graph.tensors[last.inputs[2]].expand(9, 2, 3))
    assert torch.equal(outputs[12:], outputs[12].expand(8, 2, 3))
    assert torch.equal(outputs[12], staircases(net, x, 4))


def test_samples_that_stay_alone_go_on_as_if_nobody_had_left() -> None:
    graph, plan = chain("conv", "relu", "max_pool", "conv", "relu")
    net, x = network(graph, plan, 4), images(graph, 2, 5)
    wanted = simulate(net, x, steps=13).outputs[0]
    left = Simulation(Program(net), x)
    left.advance(range(6))
    left.keep(torch.tensor([1, 3]))
    (got,) = left.advance(range(6, 13))
    assert torch.equal(got, wanted[6:, [1, 3]])


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_coarser_arithmetic_leaves_a_silent_network_its_bias(precision: str) -> None:
    """A bias that was rounded in the currents and not in the neurons would add up twice."""
    graph, plan = chain("conv", "relu", "conv", "relu")
    tensors = {n: t if t.dim() > 1 else -t.abs() / 3 - 0.4 for n, t in graph.tensors.items()}
    plain = Plan({name: replace(planned, shift=None) for name, planned in plan.sites.items()})
    net = network(replace(graph, tensors=tensors), plain, 8)
    x = torch.zeros(1, 2, 8, 8)
    engine = Engine(precision)  # type: ignore[arg-type]
    got = simulate(net, x, steps=25, engine=engine)
    assert not any(bool(counts.any()) for counts in got.spikes.values())
    wanted = run(net.graph, x)[graph.outputs[0]]
    torch.testing.assert_close(got.outputs[0][-1], wanted, rtol=0.01, atol=0.01)


def test_a_saved_network_gives_the_same(tmp_path: Path) -> None:
    graph, plan = chain("conv", "relu", "max_pool")
    net, x = network(graph, plan, 4), images(graph, 3, 2)
    save_artifact(net, tmp_path / "network.safetensors")
    again = load_artifact(tmp_path / "network.safetensors")
    before, after = (simulate(n, x, steps=9).outputs[0] for n in (net, again))
    assert torch.equal(before, after)


@pytest.mark.parametrize(
    ("ops", "refused"),
    [
        (["conv", "relu", "max_pool", "max_pool"], False),
        (["max_pool", "conv", "relu", "avg_pool"], False),
        (["conv", "max_pool", "relu"], True),
        (["conv", "relu", "avg_pool", "max_pool"], True),
    ],
)
def test_max_pooling_is_exact_or_refused(ops: list[str], refused: bool) -> None:
    graph, plan = chain(*ops)
    if refused:
        with pytest.raises(UnsupportedError, match="max_pool") as caught:
            network(graph, plan, 8)
        assert [item.op for item in caught.value.items] == ["max_pool"]
        return
    net, x = network(graph, plan, 8), images(graph, 4, 3)
    outputs = simulate(net, x, steps=steps_of(graph, 8)).outputs[0]
    assert torch.equal(outputs[-1], staircases(net, x, 8))


@pytest.mark.parametrize(
    ("change", "stages", "steps", "words"),
    [
        ({"encoder": "direct"}, "max+tsc", 13, "none .encoder."),
        ({"readout": "mean"}, "max+tsc", 13, "none .readout."),
        ({"neuron": "if"}, "max", 13, "none .neuron."),
        ({"neuron": "if", "encoder": "direct", "readout": "mean"}, "max+tsc", 13, "not for 'if'"),
        ({"neuron": "tsc:window=4", "encoder": "tsc:window=2"}, "max+tsc", 13, "4 .neuron., 2"),
        ({}, "max+tsc", 3, "4 time steps, more than 3"),
        ({"neuron": "tsc:window=9"}, "max+tsc", 13, "9 .neuron., 16"),
        ({}, "max", 13, "does not know when its turn"),
        ({}, "max+bias+tsc", 13, "take turns"),
        ({}, "tsc", 13, "has no threshold"),
    ],
)
def test_what_does_not_go_together_is_refused(
    change: dict[str, str], stages: str, steps: int, words: str
) -> None:
    graph, _ = chain("conv", "relu", "conv", "relu")
    x = images(graph, 1, 4)
    with pytest.raises((ConfigError, CalibrationError), match=words) as caught:
        convert(graph, x, [x], parse_stages(stages), steps=steps, **{**ALL, **change})
    assert caught.value.hint


def test_leaky_layers_and_diagnosis_are_refused() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.LeakyReLU()).eval()
    x = torch.ones(2, 2)
    with pytest.raises(UnsupportedError, match="signed spikes"):
        convert(module, x, [x], parse_stages("max+tsc"), **ALL)
    graph, plan = chain("conv", "relu")
    with pytest.raises(ConfigError, match="pairs of spikes"):
        decompose(network(graph, plan, 4), [(images(graph, 1, 2), None)], steps=9)


@given(x=st.lists(st.integers(-24, 24), min_size=1, max_size=6), window=st.sampled_from([4, 8]))
def test_the_running_sum_of_an_encoded_pixel_is_on_for_its_size(x: list[int], window: int) -> None:
    pixels = torch.tensor([[k / 8 for k in x]])
    encoder = ENCODERS.create(f"tsc:window={window},scale=2")
    on = encoder.encode(pixels, torch.arange(1), range(2 * window)).cumsum(0)
    levels = torch.floor(pixels.abs() / 2 * window + 0.5).clamp(max=window)
    assert torch.equal(on.sum(0), pixels.sign() * levels * 2)
    assert not on[0].any()


def test_a_window_has_a_step() -> None:
    for registry, given_ in ((NEURONS, {"threshold": 1.0}), (ENCODERS, {}), (READOUTS, {})):
        name = "switch" if registry is READOUTS else "tsc"
        with pytest.raises(ConfigError, match="window must be at least 1"):
            registry.create(f"{name}:window=0", **given_)
