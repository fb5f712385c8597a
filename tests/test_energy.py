"""The estimate of energy: constants, counts against brute force, baselines, break-even rates."""

from math import ceil, log2
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Maker, dyadic_plan, images, random_graph
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from calibrate.bit_matched import levels, quantised
from convsnn.errors import ConfigError, LoadError
from convsnn.graph import Graph, Node, run
from convsnn.graph.fan_out import fan_out, is_weighted
from convsnn.graph.ops import OPS, Role
from convsnn.measure import evaluate
from convsnn.measure.energy import Asked, Measured, estimate, load_constants, set_names
from convsnn.measure.energy.constants import given_constants
from convsnn.measure.energy.dense import dense_rows
from convsnn.measure.energy.estimate import BASELINES, Estimate, _break_even, bits_for
from convsnn.measure.energy.price import FP32, INT8, Price, price, price_by_site
from convsnn.measure.energy.spiking import Work
from convsnn.measure.energy.structure import Structure
from convsnn.measure.quantised import Quantised, score_quantised
from convsnn.measure.sharing import Alone
from convsnn.simulate import simulate
from convsnn.spiking.network import Spiking, scheduled, to_spiking
from convsnn.workflows.evaluate.pricing import Pricing, chosen_sets

SEEDS = st.integers(0, 10_000)
STEPS = 5
ALL = tuple(load_constants(name) for name in set_names())
WHOLE = Asked(ALL, weight_bits=8, floats=False)


def found(net: Spiking, x: Tensor, *, steps: int = STEPS, asked: Asked = WHOLE) -> Estimate:
    got = evaluate(net, [(x, None)], steps=steps)
    assert got.seen is not None
    return estimate(net, Measured(got.activity, got.seen), asked)


# --- constants --------------------------------------------------------------------------------


def test_the_sets_say_where_every_figure_is_from() -> None:
    assert set_names() == ["horowitz45", "lemaire", "yan22"]
    for one in ALL:
        assert all(figure.source for figure in (*one.operations.values(), *one.memory))
    horowitz, lemaire, yan = ALL
    mac = horowitz.add(32, floats=True) + horowitz.multiply(32, 32, floats=True)
    assert mac == pytest.approx(4.6e-12)
    assert horowitz.multiply(8, 8, floats=False) == pytest.approx(0.2e-12, rel=0.05)
    assert 32 * lemaire.memory_bit(32768) == pytest.approx(20e-12)
    assert yan.add(16, floats=False) == pytest.approx(0.0545e-12)
    assert not yan.knows_floats
    assert lemaire.left_out() == ["movement on the chip"]
    assert len(horowitz.left_out()) == 3


@given(size=st.floats(1, 1e8), more=st.floats(0, 1e8))
def test_a_larger_memory_never_costs_less(size: float, more: float) -> None:
    for one in ALL:
        assert one.memory_bit(size) <= one.memory_bit(size + more)


GOOD = 'name = "x"\n[operations.add]\njoules = 1e-13\nsource = "s"\n'
MULTIPLY = '[operations.multiply]\njoules = 1e-12\nsource = "s"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = ", "no TOML file"),
        ("nam = 1", "'nam'"),
        ("name = 3", "wrong type"),
        (MULTIPLY, "does not name"),
        (GOOD, "operations.multiply"),
        (GOOD + MULTIPLY + '[operations.ad]\njoules = 1\nsource = "s"', "operations.ad "),
        (GOOD + MULTIPLY.replace("1e-12", "-1"), "'joules' is not a positive"),
        (GOOD + MULTIPLY.replace("1e-12", "nan"), "'joules' is not a positive"),
        (GOOD + MULTIPLY.replace('source = "s"', ""), "names no source"),
        (GOOD + MULTIPLY + "bits = 0", "'bits'"),
        (GOOD + MULTIPLY + "colour = 1", "nothing else"),
        (GOOD + MULTIPLY + '[[memory]]\nbytes = 8\nsource = "s"', "joules_per_bit"),
        (
            GOOD
            + MULTIPLY
            + '[[memory]]\nbytes = 8\njoules_per_bit = 2.0\nsource = "s"\n'
            + '[[memory]]\nbytes = 9\njoules_per_bit = 1.0\nsource = "s"\n',
            "larger memory",
        ),
    ],
)
def test_a_file_of_constants_that_is_none_is_refused(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(LoadError, match=words):
        load_constants(str(file))


def test_what_the_user_may_ask_for(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(GOOD + MULTIPLY)
    (mine,) = chosen_sets(str(tmp_path / "mine.toml"), None, None) or ()
    assert mine.multiply(32, 4, floats=False) == 1e-12  # no bits: the same for every width
    assert [one.name for one in chosen_sets("yan22, lemaire", None, None) or ()] == [
        "yan22",
        "lemaire",
    ]
    assert chosen_sets(None, None, None) is None
    with pytest.raises(ConfigError, match="whole numbers"):
        Pricing((mine,)).require(floats=True)
    for asked in (("yan", None, None), ("yan22,yan22", None, None), (None, 1.0, None),
                  ("yan22", 1.0, 0.5), (None, 0.5, 1.0), (None, float("nan"), 1.0)):  # fmt: skip
        with pytest.raises(ConfigError):
            chosen_sets(*asked)


# --- counts -----------------------------------------------------------------------------------


def test_a_worked_example() -> None:
    """Three neurons behind two inputs, two outputs behind them, two steps."""
    m = Maker(np.random.default_rng(0), (2,))
    a = m.emit("linear", "input", m.tensor(torch.tensor([[1.0, 0], [0, 1], [-1, -1]])))
    b = m.emit("linear", m.relu(a), m.tensor(torch.ones(2, 3)), m.tensor(torch.ones(2)))
    graph = m.graph(b)
    plan = dyadic_plan(graph, 0)
    (name,) = graph.sites
    one = torch.tensor(1.0)
    plan = plan.with_sites({name: type(plan.sites[name])(one, one / 2)}, {})
    net = to_spiking(graph, plan)
    # currents 1, 0.5, -1.5: the first fires at both steps, the second at the first and not the next
    got = found(net, torch.tensor([[1.0, 0.5]]), steps=2)
    counts = {item: value.tolist() for item, value in got.counts["spiking"].items()}
    assert counts["graded_operations"] == [6, 6]  # 2 inputs of 3 synapses, once
    assert counts["synaptic_operations"] == [4, 6]  # 2, then 1 spike of 2 synapses
    assert counts["resets"] == [2, 3]
    assert counts["comparisons"] == [3, 6]
    assert counts["neuron_updates"] == [5, 10]  # and 2 outputs
    assert counts["biases"] == [2, 4]
    assert counts["kept_currents"] == [3, 6]
    assert counts["state_accesses"] == [13, 26]  # 2 for each neuron and output, 1 kept current
    assert counts["weights_read"] == [10, 12]
    assert counts["weights_dense"] == [12, 18]
    assert counts["event_bits"] == [4, 6]  # 2 bits tell 3 neurons apart
    assert counts["addressing"] == [10, 14]  # 2 inputs; 1 a synapse and 2 a spike
    assert counts["values"] == [2, 2]
    dense = {item: float(value) for item, value in got.counts["original"].items()}
    assert dense == {
        "graded_operations": 12, "comparisons": 3, "biases": 2, "weights_read": 12,
        "weights_dense": 12, "values": 5, "addressing": 10,
    }  # fmt: skip
    skipped = got.counts["zeros_skipped"]
    assert float(skipped["graded_operations"]) == 10  # the third neuron is silent
    assert float(got.footprint["original"]) == (12 + 2 + 3 + 3) * 4
    assert float(got.footprint["int8"]) == 12 + 2 * 2 + 6
    horowitz = next(one for one in got.sets if one.constants.name == "horowitz45")
    add, mac = 0.05e-12, (0.05 + 3.1 / 16) * 1e-12  # 16 bits; 8 by 8 bits
    spent = 6 * mac + (6 + 3 + 6 + 4 + 6) * add
    assert float(horowitz.spiking[-1]) == pytest.approx(spent)
    assert float(horowitz.baselines["original"][-1]) == pytest.approx((12 * 4.6 + 5 * 0.9) * 1e-12)


def products(graph: Graph, node: Node, x: Tensor) -> float:
    """Products with a factor that is not zero, by running the layer on ones."""
    weight = torch.ones_like(graph.weight(node))
    return float(OPS[node.op].run((x != 0).to(weight), weight, **node.attrs).sum())


@settings(max_examples=5)
@given(seed=SEEDS, size=st.integers(1, 4))
def test_skipped_zeros_are_those_of_the_images(seed: int, size: int) -> None:
    graph = random_graph(seed)
    x = images(graph, seed, 4)
    net = to_spiking(graph, dyadic_plan(graph, seed))
    got = evaluate(net, [(part, None) for part in x.split(size)], steps=1).seen
    assert got is not None
    layers = [node for node in graph.nodes if is_weighted(node)]
    values = run(graph, x, keep=[node.inputs[0] for node in layers])
    for node in layers:
        read = values[node.inputs[0]]
        assert got.effective[node.name] == products(graph, node, read)
        assert got.nonzero[node.name] == float((read != 0).sum())
        assert got.connections[node.name] == products(graph, node, torch.ones_like(read[:1]))


@settings(max_examples=5)
@given(seed=SEEDS, schedule=st.sampled_from(["steps", "layers"]))
def test_counts_are_those_of_the_spikes(seed: int, schedule: str) -> None:
    graph = random_graph(seed)
    net = scheduled(to_spiking(graph, dyadic_plan(graph, seed)), schedule)
    x = images(graph, seed, 3)
    counts = found(net, x).counts["spiking"]
    ran = simulate(net, x, steps=STEPS, at=range(1, STEPS + 1))
    behind = fan_out(graph)

    def sums(values: Tensor) -> Tensor:
        series = (values.double().sum(1) / 3).expand(STEPS)  # what never changes comes once
        return series.cumsum(0) if schedule == "steps" else series

    steps = torch.arange(1, STEPS + 1).double()
    neurons = sum(int(np.prod(graph.shapes[name])) for name in graph.sites)
    spikes = sum(sums(ran.spikes[name]) for name in graph.sites)
    total = sum(sums(ran.synaptic_operations[name]) for name in behind)
    fixed = [name for name in behind if name not in graph.behind([Role.ACTIVATION])]
    again = sum(sums(ran.synaptic_operations[n]) * (1 - 1 / steps) for n in fixed)
    assert counts["comparisons"].tolist() == (neurons * steps).tolist()
    assert counts["resets"].tolist() == pytest.approx(spikes.tolist())
    wanted = total - again  # what the image decides is computed once
    assert counts["weights_read"].tolist() == pytest.approx(wanted.tolist())
    work = counts["graded_operations"] + counts.get("synaptic_operations", torch.zeros(1))
    assert work.tolist() == pytest.approx(wanted.tolist())
    assert bool((counts["weights_read"] <= counts["weights_dense"]).all())


@settings(max_examples=5)
@given(seed=SEEDS)
def test_places_add_up_to_the_whole(seed: int) -> None:
    graph = random_graph(seed)
    net = to_spiking(graph, dyadic_plan(graph, seed))
    got = evaluate(net, [(images(graph, seed, 2), None)], steps=3)
    assert got.seen is not None
    structure = Structure(graph, got.seen.connections)
    for rows in (
        Work(net, got.activity, structure).rows(),
        dense_rows(structure),
        dense_rows(structure, quantised=True),
    ):
        for constants in ALL:
            whole = price(rows, INT8, constants).total
            owned = [price([row], INT8, constants).total for row in rows]
            sites = price_by_site(rows, INT8, constants).values()
            assert torch.stack(torch.broadcast_tensors(*owned)).sum(0).tolist() == pytest.approx(
                whole.tolist()
            )
            assert sum(float(site.total[-1]) for site in sites) <= float(whole[-1]) * (1 + 1e-9)


# --- comparison -------------------------------------------------------------------------------


def test_bits_tell_as_many_levels_apart_as_steps_do() -> None:
    for steps in range(1, 256):
        assert bits_for(steps) == ceil(log2(steps + 1))
    assert bits_for(10_000) == 8


@given(
    spikes=st.floats(1e-3, 1e3),
    fixed=st.floats(0, 1e3),
    theirs=st.floats(0, 1e3),
    rate=st.floats(1e-3, 2),
)
def test_at_the_break_even_rate_both_cost_the_same(
    spikes: float, fixed: float, theirs: float, rate: float
) -> None:
    def series(value: float) -> Tensor:
        return torch.tensor([value], dtype=torch.float64)

    nothing = series(0.0)
    even = _break_even(Price(series(spikes), series(fixed)), Price(nothing, series(theirs)), rate)
    assert even is not None
    if theirs <= fixed:
        assert even == 0
    else:
        assert fixed + spikes * even / rate == pytest.approx(theirs, rel=1e-6)


def test_sets_without_floats_price_whole_numbers_only() -> None:
    graph = random_graph(1)
    net = to_spiking(graph, dyadic_plan(graph, 1))
    got = found(net, images(graph, 1, 2))
    yan = next(one for one in got.sets if one.constants.name == "yan22")
    assert yan.baselines["original"] is None
    assert yan.baselines["bit_matched"] is not None
    assert len(got.ratios("original")) == 2
    assert len(got.ratios("int8")) == 3
    for name in BASELINES:
        low, high = got.range(name) or (torch.ones(1), torch.zeros(1))
        assert bool((low <= high).all())
        assert bool((low > 0).all())


def test_two_numbers_are_a_set_of_their_own() -> None:
    graph = random_graph(2)
    net = to_spiking(graph, dyadic_plan(graph, 2))
    got = found(net, images(graph, 2, 2), asked=Asked((given_constants(5, 5),)))
    counts = got.counts["original"]
    additions = sum(
        float(counts.get(item, torch.zeros(1)))
        for item in ("graded_operations", "comparisons", "biases", "residual_sums", "pooling")
    )
    (one,) = got.sets
    assert float(one.baselines["original"][0]) == pytest.approx(5e-12 * additions)


def test_fewer_bits_cost_less_and_skipping_zeros_never_more_operations() -> None:
    graph = random_graph(3)
    net = to_spiking(graph, dyadic_plan(graph, 3))
    got = found(net, images(graph, 3, 2), steps=9)
    for one in got.sets:
        matched = one.baselines["bit_matched"]
        assert matched is not None
        assert matched.tolist() == sorted(matched.tolist())
        assert float(matched[-1]) < float(one.baselines["int8"][-1])
    horowitz = got.sets[0].baselines
    assert float(horowitz["zeros_skipped"][0]) <= float(horowitz["original"][0])
    assert price(dense_rows(Structure(graph, {n.name: 1 for n in graph.nodes})), FP32, ALL[0])


# --- networks with few bits -------------------------------------------------------------------


@settings(max_examples=10)
@given(seed=SEEDS, bits=st.integers(1, 4))
def test_a_quantised_network_rounds_every_activation(seed: int, bits: int) -> None:
    """Against the original's own run with every activation rounded by hand."""
    graph = random_graph(seed, exact=False).to(torch.float64)  # where no value is at a step's edge
    x, top = images(graph, seed, 3).double(), levels(bits)
    heard = run(graph, x, keep=graph.sites)
    assume(all(float(heard[name].max()) > 0 for name in graph.sites))  # a silent layer is refused
    net = quantised(graph, [x], [bits])[bits]
    values: dict[str, Tensor] = {}
    for node in graph.nodes:
        if node.role.name == "INPUT":
            values[node.name] = x
            continue
        given_ = [graph.tensors[i] if i in graph.tensors else values[i] for i in node.inputs]
        if node.name in graph.sites:
            size = net.plan.sites[node.name].threshold / top
            values[node.name] = size * torch.floor(given_[0] / size + 0.5).clamp(0, top)
        else:
            values[node.name] = OPS[node.op].run(*given_, **node.attrs)
    got = simulate(net, x, steps=top, at=(top,)).outputs[0][-1]
    wanted = values[graph.outputs[0]]
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


def test_scores_of_quantised_networks_do_not_depend_on_the_split() -> None:
    graph = random_graph(5)
    x = images(graph, 5, 6)
    y = run(graph, x)[graph.outputs[0]].argmax(1)
    made = quantised(graph, [x], [1, 8])
    asked = {str(b): Quantised(net, levels(b)) for b, net in made.items()}
    task = evaluate(to_spiking(graph, dyadic_plan(graph, 5)), [(x, y)], steps=1).task
    whole = score_quantised(asked, [(x, y)], task, share=Alone())
    parts = [(x[i : i + 1], y[i : i + 1]) for i in range(6)]
    assert score_quantised(asked, parts, task, share=Alone()) == whole
    assert whole["8"] is not None
    assert whole["8"] >= 5 / 6  # 8 bits are almost the original
