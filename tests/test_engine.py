"""Every way of computing a simulation against the float32 reference, and 8-bit weights against
an integer simulation written out by hand."""

import importlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Maker, dyadic_plan, images, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from convsnn.errors import ConfigError
from convsnn.graph import Node
from convsnn.graph.fan_out import fan_out
from convsnn.load import load_module
from convsnn.neurons import NEURONS
from convsnn.neurons.fused import Compilable, Layout, compiler, scan
from convsnn.simulate import PRECISIONS, Engine, Program, Run, Simulation, fastest, simulate
from convsnn.simulate.counts import Counter
from convsnn.simulate.units import fold, narrow
from convsnn.simulate.weighted import grid, int8_available, on_grid
from convsnn.spiking.network import Spiking, to_spiking
from convsnn.spiking.plan import Plan, SitePlan

SEEDS = st.integers(0, 2**32 - 1)
PLAIN = ("if", "if:reset=zero", "burst", "burst:gamma=2", "signed")


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the fused loops op by op: the same functions, without the seconds of compiling."""
    module = importlib.import_module("convsnn.simulate.program")
    monkeypatch.setattr(module, "compiler", lambda: "switched off by a test")


def spiking(seed: int, neuron: str) -> tuple[Spiking, Tensor]:
    """A random network, the first from `seed` on that can have such neurons."""
    graph = random_graph(seed)
    while neuron.startswith("burst") and any(s.ceiling for s in graph.sites.values()):
        seed += 1
        graph = random_graph(seed)
    net = to_spiking(graph, dyadic_plan(graph, seed, timed_bias=True), neuron=neuron)
    return net, images(graph, seed, 3)


def same(one: Run, other: Run) -> bool:
    counted = all(torch.equal(one.spikes[n], other.spikes[n]) for n in other.spikes)
    operations = one.synaptic_operations, other.synaptic_operations
    worked = all(torch.equal(operations[0][n], operations[1][n]) for n in operations[1])
    return torch.equal(one.outputs[0], other.outputs[0]) and counted and worked


# In units of spikes.


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("neuron", PLAIN)
def test_numbers_of_spikes_give_the_reference_to_the_last_bit(neuron: str) -> None:
    for seed in range(12):
        net, x = spiking(seed, neuron)
        wanted = simulate(net, x, steps=7)
        for chunk in (1, 3, 7):
            got = simulate(net, x, steps=7, chunk=chunk, engine=Engine(fused=True))
            assert same(got, wanted), (seed, chunk)


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("name", NEURONS.names())
@settings(max_examples=15)
@given(seed=SEEDS, cut=st.integers(1, 8), whole=st.booleans())
def test_contract_the_pure_step_is_the_scan(name: str, seed: int, cut: int, whole: bool) -> None:
    rng = np.random.default_rng(seed)
    threshold = torch.from_numpy(rng.integers(2, 9, (4, 3, 2) if whole else (4, 1, 1))).float() / 4
    neuron = NEURONS.create(name, threshold=threshold, potential=threshold / 2)
    if not isinstance(neuron, Compilable):
        pytest.skip("it is run by its scan")
    fusable = neuron.fusable()
    assert fusable is not None
    currents = torch.from_numpy(rng.integers(-8, 13, (9, 2, 4, 3, 2))).float() / 8
    wanted, _ = neuron.scan(currents)
    layout = Layout.of((4, 3, 2), fusable.parameters)
    state: tuple[Tensor, ...] = tuple(layout.start(s, 2) for s in fusable.state)
    parts = []
    for first, part in ((0, currents[:cut]), (cut, currents[cut:])):
        sent, state = scan(
            fusable,
            [layout.flat(part)],
            [None],
            None,
            state,
            first=first,
            parameters=[layout.parameter(p) for p in fusable.parameters],
            dtype=torch.float32,
            fused=False,
        )
        parts.append(layout.back(sent, 2))
    got = torch.cat(parts) * (1 if fusable.unit is None else fusable.unit)
    if fusable.unit is None:  # thresholds that are computed round by the order of operations
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
    else:
        assert torch.equal(got, wanted)


@settings(max_examples=30)
@given(seed=SEEDS)
def test_folding_a_unit_is_multiplying_by_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 2]))
    conv = nn.Conv2d(4, 6, 3, padding=1, groups=groups, bias=False)
    unit = torch.from_numpy(rng.integers(1, 9, (4, 1, 1))).float()
    node = Node("c", "conv", ("x", "w"), {"groups": groups})
    folded = fold(node, conv.weight.detach(), unit)
    x = torch.from_numpy(rng.integers(0, 2, (2, 4, 5, 5))).float()
    assert folded is not None
    with torch.no_grad():
        got = nn.functional.conv2d(x, folded, padding=1, groups=groups)
        torch.testing.assert_close(got, conv(x * unit))
    assert fold(node, conv.weight, torch.rand(4, 5, 5)) is None


def test_a_unit_is_no_larger_than_it_has_to_be() -> None:
    assert narrow(torch.full((3, 4, 4), 2.0), (3, 4, 4)).shape == ()
    assert narrow(torch.rand(3, 1, 1).expand(3, 4, 4), (3, 4, 4)).shape == (3, 1, 1)
    assert narrow(torch.rand(3, 4, 4), (3, 4, 4)).shape == (3, 4, 4)


# The time loop.


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("engine", [Engine(), Engine(fused=True), Engine("bfloat16")])
@pytest.mark.parametrize("neuron", [*PLAIN[:3], "signed", "msat"])
def test_samples_that_are_kept_go_on_as_before(neuron: str, engine: Engine) -> None:
    net, x = spiking(5, neuron)
    program, rows = Program(net, engine), torch.tensor([2, 0])
    whole = simulate(program, x, steps=9, chunk=3).outputs[0]
    simulation = Simulation(program, x)
    simulation.advance(range(3))
    simulation.keep(rows)
    for steps in (range(3, 6), range(6, 9)):
        got = simulation.advance(steps)[0]
        torch.testing.assert_close(got, whole[steps.start : steps.stop, rows])


@pytest.mark.slow
@pytest.mark.skipif(compiler() is not None, reason=f"nothing can be compiled here: {compiler()}")
@pytest.mark.parametrize(("neuron", "seed"), [("if", 1), ("if", 4), ("signed", 4)])
def test_compiled_loops_give_the_reference_to_the_last_bit(neuron: str, seed: int) -> None:
    net, x = spiking(seed, neuron)
    wanted = simulate(net, x, steps=11)
    assert same(simulate(net, x, steps=11, engine=Engine(fused=True)), wanted)
    eager = Engine("int8") if int8_available() else Engine(weight_bits=8)
    compiled = replace(eager, fused=True)
    got, by_op = (simulate(net, x, steps=11, engine=e) for e in (compiled, eager))
    assert all(torch.equal(got.spikes[name], by_op.spikes[name]) for name in by_op.spikes)
    torch.testing.assert_close(got.outputs, by_op.outputs)


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("most", [1, 2])
def test_a_batch_that_is_run_in_parts_is_the_batch(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, x = spiking(9, "if")
    wanted = simulate(net, x, steps=6)
    module = importlib.import_module("convsnn.simulate.run")
    monkeypatch.setattr(module, "images_at_once", lambda _: most)
    assert same(simulate(net, x, steps=6, engine=Engine(fused=True)), wanted)
    with pytest.raises(ConfigError, match="need 3 numbers"):
        simulate(net, x, steps=6, engine=Engine(fused=True), ids=torch.arange(2))


def test_without_counting_the_outputs_are_the_same() -> None:
    net, x = spiking(3, "if")
    silent = simulate(net, x, steps=5, count=False)
    assert torch.equal(silent.outputs[0], simulate(net, x, steps=5).outputs[0])
    assert not silent.spikes
    assert not silent.synaptic_operations


@settings(max_examples=20)
@given(seed=SEEDS, most=st.sampled_from([3, 200, 70_000]))
def test_counts_are_exact(seed: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    value = torch.from_numpy(rng.integers(-1, 2, (2, 3, 4, 5, 5))).float()
    behind = torch.from_numpy(rng.integers(0, most, (4, 5, 5))).double()
    events, operations = Counter((4, 5, 5), behind, once=False)(value)
    assert torch.equal(events, (value != 0).flatten(2).sum(2))
    assert operations is not None
    assert torch.equal(operations, ((value != 0) * behind).flatten(2).sum(2))


# Bits of a weight.


@settings(max_examples=40)
@given(seed=SEEDS, bits=st.integers(2, 8))
def test_weights_are_rounded_to_the_nearest_of_their_grid(seed: int, bits: int) -> None:
    weight = torch.from_numpy(np.random.default_rng(seed).normal(size=(5, 3, 2, 2))).float()
    weight[0] = 0
    step = grid(weight, bits)
    whole = on_grid(weight, step, bits)
    assert torch.equal(whole, whole.round())
    assert float(whole.abs().max()) == 2 ** (bits - 1) - 1
    assert torch.equal(on_grid(-weight, step, bits), -whole)
    error = (whole * step.reshape(-1, 1, 1, 1) - weight).abs().amax((1, 2, 3))
    assert bool((error <= step * 0.5 * (1 + 1e-5)).all())


def small(seed: int) -> tuple[Spiking, Tensor, nn.Sequential]:
    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(48, 5),
    ).eval()  # fmt: skip
    graph = load_module(module, torch.randn(2, 2, 4, 4))
    sites = {
        name: SitePlan(torch.rand(site.shape[0], 1, 1) * 0.3 + 0.2, torch.tensor(0.1))
        for name, site in graph.sites.items()
    }
    return to_spiking(graph, Plan(sites)), torch.randn(6, 2, 4, 4), module


def by_hand(net: Spiking, x: Tensor, module: nn.Sequential, steps: int, bits: int) -> Tensor:
    """The integer simulation of `small`, in int64, from the definitions."""
    most = 2 ** (bits - 1) - 1
    first, second, last = (module[i] for i in (0, 2, 5))
    sites = list(net.plan.sites.values())

    def whole(weight: Tensor) -> tuple[Tensor, Tensor]:
        step = weight.detach().flatten(1).abs().amax(1) / most
        return torch.round(weight.detach() / step.reshape(-1, *[1] * (weight.dim() - 1))), step

    def population(layer: Any, weight: Tensor, site: SitePlan) -> dict[str, Tensor]:
        q, step = whole(weight)
        step = step.reshape(-1, 1, 1)
        return {
            "q": q.long(), "step": step,
            "bias": torch.round(layer.bias.detach().reshape(-1, 1, 1) / step).long(),
            "threshold": torch.round(site.threshold / step).clamp(min=1).long(),
            "start": torch.round(site.potential / step).long(),
        }  # fmt: skip

    a = population(first, first.weight, sites[0])
    unit = (a["threshold"] * a["step"]).flatten()
    b = population(second, second.weight * unit.reshape(1, -1, 1, 1), sites[1])
    unit = (b["threshold"] * b["step"]).expand(3, 4, 4).flatten()
    q, step = whole(last.weight * unit)
    current = nn.functional.conv2d(x, a["q"].float(), padding=1)
    current = torch.round(current).long() + a["bias"]
    va, vb = a["start"].expand_as(current).clone(), None
    outputs = []
    for _ in range(steps):
        va = va + current
        sent = (va >= a["threshold"]).long()
        va = va - sent * a["threshold"]
        z = nn.functional.conv2d(sent.double(), b["q"].double(), padding=1).long() + b["bias"]
        vb = (b["start"].expand_as(z) if vb is None else vb) + z
        sent = (vb >= b["threshold"]).long()
        vb = vb - sent * b["threshold"]
        total = (sent.flatten(1) @ q.long().T).float()
        outputs.append(total * step + last.bias.detach())
    return torch.stack(outputs).cumsum(0) / torch.arange(1, steps + 1).reshape(-1, 1, 1)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("seed", range(4))
def test_eight_bit_weights_are_an_integer_simulation(seed: int, bits: int) -> None:
    net, x, module = small(seed)
    got = simulate(net, x, steps=40, engine=Engine("int8", weight_bits=bits)).outputs[0]
    wanted = by_hand(net, x, module, 40, bits)
    torch.testing.assert_close(got, wanted.detach(), rtol=1e-5, atol=1e-5)


def test_fewer_bits_cost_more() -> None:
    gaps = []
    for bits in (3, 5, 8):
        found = []
        for seed in range(6):
            net, x, _ = small(seed)
            wanted = simulate(net, x, steps=64).outputs[0][-1]
            got = simulate(net, x, steps=64, engine=Engine(weight_bits=bits)).outputs[0][-1]
            found.append(float((got - wanted).norm() / wanted.norm()))
        gaps.append(sum(found))
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_stays_near_the_reference(precision: str) -> None:
    for seed in range(4):
        net, x, _ = small(seed)
        wanted = simulate(net, x, steps=128).outputs[0][-1]
        got = simulate(net, x, steps=128, engine=Engine(precision)).outputs[0][-1]  # type: ignore[arg-type]
        assert float((got - wanted).norm()) < 0.03 * float(wanted.norm()), seed


@pytest.mark.parametrize(
    "options", [{"precision": "fp4"}, {"weight_bits": 1}, {"weight_bits": 9}, {"precision": ""}]
)
def test_what_no_engine_can_do_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Engine(**options)


def test_a_precision_says_what_it_is() -> None:
    assert [Engine(p).describe() for p in PRECISIONS] == [
        "float32", "bfloat16", "int8, 8-bit weights",
    ]  # fmt: skip
    assert Engine("int8", weight_bits=4).describe() == "int8, 4-bit weights"
    assert Engine("float32", weight_bits=6).describe() == "float32, 6-bit weights"


def test_the_fastest_precision_is_one_that_is_there() -> None:
    found = fastest(torch.device("cpu"))
    assert found in PRECISIONS
    assert found == fastest(torch.device("cpu"))


def test_the_fan_out_of_the_reference_is_what_is_counted() -> None:
    net, x = spiking(2, "if")
    got = simulate(net, x, steps=4)
    sent: dict[str, list[Tensor]] = {}
    simulate(net, x, steps=4, observe=lambda n, _, v: sent.setdefault(n.name, []).append(v))
    for name, behind in fan_out(net.graph).items():
        if name in got.synaptic_operations and name in net.graph.sites:
            events = (torch.cat(sent[name]) != 0).double()
            wanted = (events * behind).flatten(2).sum(2)
            assert torch.equal(got.synaptic_operations[name], wanted), name


def test_the_readout_adds_up_in_the_networks_own_float_type() -> None:
    """In bfloat16 a sum of more than 256 ones would stand still."""
    maker = Maker(np.random.default_rng(0), (1,))
    one = maker.tensor(torch.ones(1, 1))
    relu = maker.relu(maker.emit("linear", "input", one))
    graph = maker.graph(maker.emit("linear", relu, one))
    net = to_spiking(graph, Plan({relu: SitePlan(torch.tensor(1.0), torch.tensor(0.0))}))
    outputs = simulate(net, torch.ones(1, 1), steps=600, engine=Engine("bfloat16")).outputs[0]
    assert torch.equal(outputs, torch.ones(600, 1, 1))
