"""Functions, products and the neurons that code what they give: laws, kinds, both schedules."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from calibrate import parse_stages
from calibrate.coding import CodingThresholds
from convsnn.errors import CalibrationError, ConfigError, RewriteError, UnsupportedError
from convsnn.graph import Graph, Node, run
from convsnn.graph.dense import dense_operations
from convsnn.graph.fan_out import is_weighted
from convsnn.graph.ops import OPS, Role
from convsnn.graph.ops.base import SMOOTH
from convsnn.neurons import NEURONS
from convsnn.neurons.levels import Levels, _looked_up, _sent, nearest_level
from convsnn.passes.coding import with_coding
from convsnn.passes.smooth import settle_smooth
from convsnn.simulate import SpikingModule, simulate
from convsnn.simulate.difference import difference
from convsnn.spiking.kinds import ANALOG, BINARY, GRADED, require_spikes
from convsnn.workflows.convert.network import convert

ATTRS = {
    "layer_norm": {"dims": [2], "epsilon": 1e-5},
    "rms_norm": {"dims": [1, 2], "epsilon": 1e-5},
    "vector_norm": {"dims": [2]},
    "largest": {"dims": [2]},
    "softmax_inside": {"dim": 2},
    "log_softmax_inside": {"dim": 1},
    "power": {"exponent": 2.0},
    "elementary": {"kind": "erf"},
    "bound": {"low": -0.5, "high": None},
}
TWO = {"quotient", "modulate", "larger", "smaller", "matmul", "multiply"}
ROWS = sorted(name for name, op in OPS.items() if op.role in SMOOTH)
KEEP_SHAPE = [n for n in ROWS if n not in TWO | {"vector_norm", "largest", "bound", "power"}]


def sequence(name: str, seed: int) -> list[Tensor]:
    """Seven steps of input of two samples (4, 4); positive where the op divides."""
    generator = torch.Generator().manual_seed(seed)
    values = [
        torch.randn(7, 2, 4, 4, generator=generator, dtype=torch.float64)
        for _ in range(2 if name in TWO else 1)
    ]
    return [v.abs() + 0.1 for v in values] if name == "quotient" else values


@pytest.mark.parametrize("name", ROWS)
def test_what_is_passed_on_adds_up_to_the_function_of_the_mean(name: str) -> None:
    values, attrs = sequence(name, 0), ATTRS.get(name, {})

    def function(*inputs: Tensor) -> Tensor:
        return OPS[name].run(*inputs, **attrs)

    state, sent = None, []
    for part in (range(3), range(3, 4), range(4, 7)):  # however time is cut
        out, state = difference(function, [v[part.start : part.stop] for v in values], state, part)
        sent.append(out)
    total = torch.cat(sent).cumsum(0)
    for steps in range(1, 8):
        wanted = steps * function(*(v[:steps].mean(0) for v in values))
        torch.testing.assert_close(total[steps - 1], wanted)


def test_a_product_is_the_three_term_update() -> None:
    a, b = sequence("matmul", 1)
    out, _ = difference(torch.matmul, [a, b], None, range(7))
    product, sum_a, sum_b, before = torch.zeros(2, 4, 4), torch.zeros(()), torch.zeros(()), 0.0
    for step in range(7):
        product = product + a[step] @ (sum_b + torch.zeros_like(b[0])) + (
            sum_a + torch.zeros_like(a[0])
        ) @ b[step] + a[step] @ b[step]  # fmt: skip
        sum_a, sum_b = sum_a + a[step], sum_b + b[step]
        torch.testing.assert_close(out[step], product / (step + 1) - before)
        before = product / (step + 1)


def linear(name: str, source: str, tensors: dict[str, Tensor], seed: int, size: int = 4) -> Node:
    generator = torch.Generator().manual_seed(seed)
    tensors[f"{name}.w"] = torch.randn(size, 4, generator=generator, dtype=torch.float64)
    tensors[f"{name}.b"] = torch.randn(size, generator=generator, dtype=torch.float64) / 4
    return Node(name, "linear", (source, f"{name}.w", f"{name}.b"))


def network(ops: list[str], seed: int = 0) -> Graph:
    """A chain of functions, products with earlier values, neurons and layers on samples (4, 4)."""
    tensors: dict[str, Tensor] = {}
    nodes = [Node("x", "input", (), {"shape": [4, 4]}), linear("in", "x", tensors, seed)]
    last, other = "in", "in"
    for number, op in enumerate(ops):
        name = f"n{number}"
        if op == "linear":
            nodes.append(linear(name, last, tensors, seed + number + 1))
        elif op in ("matmul", "multiply", "add"):
            nodes.append(Node(name, op, (last, other)))
        else:
            nodes.append(Node(name, op, (last,), ATTRS.get(op, {})))
        last, other = name, last
    nodes.append(linear("out", last, tensors, seed + 99, 3))
    return settle_smooth(Graph(tuple(nodes), tensors, ("out",)))


def images(count: int = 6, seed: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 4, 4, generator=generator, dtype=torch.float64)


OPS_DRAWN = st.lists(
    st.sampled_from([*KEEP_SHAPE, "matmul", "multiply", "linear", "relu", "add"]),
    min_size=1,
    max_size=6,
)


@settings(max_examples=12, deadline=None)
@given(ops=OPS_DRAWN, schedule=st.sampled_from(["steps", "layers"]), seed=st.integers(0, 9))
def test_given_its_spikes_a_network_is_exact_at_every_step(
    ops: list[str], schedule: str, seed: int
) -> None:
    graph, x = network([*ops, "gelu"], seed), images()
    try:
        net = convert(graph, x[:2], [x], parse_stages("max"), steps=5, schedule=schedule)
    except CalibrationError:  # a layer that is silent, or a logarithm of what is negative
        return
    sent: dict[str, list[Tensor]] = {}
    result = simulate(
        net, x, steps=5, chunk=2,
        observe=lambda node, _, value: sent.setdefault(node.name, []).append(value),
    )  # fmt: skip
    answers = result.outputs[0]
    for steps in range(1, 6) if schedule == "steps" else [5]:
        means = {n: torch.cat(sent[n])[:steps].mean(0) for n in net.graph.sites}
        wanted = run(net.body, x, start=means)["out"]
        torch.testing.assert_close(answers[min(steps, len(answers)) - 1], wanted)


@settings(max_examples=15, deadline=None)
@given(ops=OPS_DRAWN, seed=st.integers(0, 9))
def test_weights_and_products_meet_spikes_only(ops: list[str], seed: int) -> None:
    graph = network([*ops, "gelu"], seed)
    coded = with_coding(graph)
    made_of_spikes: dict[str, bool] = {}
    analog: dict[str, bool] = {}
    for node in coded.nodes:
        inputs = coded.data_inputs(node)
        if node.role is Role.PRODUCT:
            assert all(made_of_spikes[name] for name in inputs)
        if is_weighted(node):
            assert not analog[inputs[0]]
        neuron = node.role is Role.ACTIVATION
        stops = is_weighted(node) or node.role in (Role.INPUT, *SMOOTH)
        made_of_spikes[node.name] = neuron or (
            not stops and all(made_of_spikes[name] for name in inputs)
        )
        analog[node.name] = node.role in SMOOTH or (
            not neuron and not is_weighted(node) and any(analog[name] for name in inputs)
        )
    x = images(2)
    assert torch.equal(run(coded, x)["out"], run(graph, x)["out"])
    assert with_coding(coded) is coded


@settings(max_examples=60, deadline=None)
@given(
    size=st.floats(-1.9, 1.9), steps=st.integers(1, 12), n=st.integers(1, 12),
    threshold=st.sampled_from([0.25, 1.0, 3.0]),
)  # fmt: skip
def test_levels_send_their_input(size: float, steps: int, n: int, threshold: float) -> None:
    neuron = Levels(torch.tensor(threshold), slope=torch.ones(()), n=n)
    total = torch.tensor([size * steps * threshold], dtype=torch.float64)
    counts, events = neuron.code(total, steps)
    train = neuron.train(total, range(steps), steps=steps)
    torch.testing.assert_close(train.sum(0), counts)
    assert int((train != 0).sum()) == int(events) <= steps
    assert bool((train.abs()[:-1] >= train.abs()[1:]).all())  # the largest first
    left = abs(float(total / threshold - counts))
    if abs(size) <= 1 and int(events) < steps:
        assert left <= 2.0**-n * (1 + 1e-9)  # half of the smallest size
    assert set(train.abs().flatten().tolist()) <= {0.0, *(2.0**-k for k in range(n))}


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 12), budget=st.integers(0, 14), seed=st.integers(0, 1000),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)  # fmt: skip
def test_the_table_of_codes_is_what_the_loop_sends(
    n: int, budget: int, seed: int, dtype: torch.dtype
) -> None:
    ties = torch.arange(-(2 ** (n - 1)), 3 * 2 ** (n - 1) + 1) / 2.0 ** (n + 1)
    between = torch.rand(200, generator=torch.Generator().manual_seed(seed)) - 0.25
    left = torch.cat([ties, between]).to(dtype)
    budgets = torch.full_like(left, budget)
    known = _sent(left, budgets, n)
    for got, wanted in zip(_looked_up(left, budgets, n), known, strict=True):
        assert torch.equal(got, wanted)
    assert torch.equal(budgets, torch.full_like(left, budget))


def test_levels_keep_up_step_by_step() -> None:
    currents = 2 * torch.rand(40, 50, dtype=torch.float64) - 1
    neuron = Levels(torch.tensor(1.0), slope=torch.ones(()), n=8)
    sent, state = neuron.scan(currents[:13])
    more, _ = neuron.scan(currents[13:], state)
    whole, _ = neuron.scan(currents)
    assert torch.equal(torch.cat([sent, more]), whole)
    assert float((whole.sum(0) - currents.sum(0)).abs().max()) < 0.6
    rectified, _ = Levels(torch.tensor(1.0), n=8).scan(currents)
    assert bool((rectified.cumsum(0) >= 0).all())


def test_the_nearest_level_is_the_nearest() -> None:
    values = torch.linspace(-1.3, 1.3, 5001, dtype=torch.float64)
    known = torch.tensor([0.0, *(s * 2.0**-k for k in range(5) for s in (1, -1))]).double()
    found = nearest_level(values, 5)
    best = (values[:, None] - known).abs().amin(1)
    torch.testing.assert_close((found - values).abs(), best)
    torch.testing.assert_close(nearest_level(values.float(), 5).double(), found)
    torch.testing.assert_close(nearest_level(values.half(), 5).float(), nearest_level(
        values.half().float(), 5))  # fmt: skip


@pytest.mark.parametrize("spec", ["levels:n=0", "levels:n=32", "levels:n=x"])
def test_levels_that_are_none_are_refused(spec: str) -> None:
    with pytest.raises(ConfigError):
        NEURONS.create(spec, threshold=1.0)


def test_kinds_and_what_may_be_used() -> None:
    x = images()
    made = {
        BINARY: network(["relu", "linear", "relu"]),
        GRADED: network(["relu", "linear", "multiply"]),
        ANALOG: network(["gelu", "linear", "matmul"]),
    }
    for kind, graph in made.items():
        net = convert(graph, x[:2], [x], parse_stages("max"), steps=2)
        assert net.kind == kind
        assert net.schedule == ("steps" if kind == BINARY else "layers")
    require_spikes(made[BINARY], "binary", neuron="if")
    require_spikes(made[GRADED], "graded", neuron="if")
    with pytest.raises(ConfigError, match="several sizes"):
        require_spikes(made[BINARY], "binary", neuron="burst")
    with pytest.raises(ConfigError, match="no spikes 'grey'"):
        require_spikes(made[BINARY], "grey", neuron="if")
    for kind, spikes, names in ((GRADED, "binary", ["n2"]), (ANALOG, "graded", ["n0"]),
                                (ANALOG, "binary", ["n0", "n2"])):  # fmt: skip
        with pytest.raises(UnsupportedError) as refused:
            convert(made[kind], x[:2], [x], [], steps=2, spikes=spikes)
        assert [item.layer for item in refused.value.items] == names
        assert all("--spikes" in item.remedy for item in refused.value.items)


def test_more_steps_are_closer_in_both_schedules() -> None:
    graph, x = network(["gelu", "linear", "layer_norm", "linear", "matmul"]), images(32)
    wanted = run(graph, x)["out"]
    for schedule, bound in (("layers", 0.03), ("steps", 0.15)):
        found = []
        for steps in (2, 8, 32):
            net = convert(graph, x[:2], [x], [], steps=steps, schedule=schedule)
            answer = simulate(net, x, steps=steps).outputs[0][-1]
            found.append(float((answer - wanted).norm() / wanted.norm()))
        assert bound > found[2]
        assert found[0] > found[1] > found[2]


def test_thresholds_of_coding_neurons() -> None:
    graph, x = network(["gelu"]), images(64)
    for stage in (CodingThresholds(), CodingThresholds(rule="quantile", q=90.0)):
        net = convert(graph, x[:2], [x], [stage], steps=4)
        ((name, planned),) = net.plan.sites.items()
        tops = run(net.graph, x, keep=[name])[name].abs().amax((0, 1))
        assert planned.threshold.shape == (1, 4)
        assert bool((planned.threshold[0] <= tops * 1.01).all())
    for wrong in ("coding:steps=0", "coding:q=0", "coding:rule=none"):
        with pytest.raises(ConfigError):
            parse_stages(wrong)


def test_numbers_that_are_none_are_an_error() -> None:
    nodes = list(network(["relu", "layer_norm"]).nodes)
    place = next(i for i, n in enumerate(nodes) if n.op == "layer_norm")
    nodes[place] = Node("n1", "layer_norm", ("n0",), {"dims": [2], "epsilon": 0.0})
    graph = Graph(tuple(nodes), network(["relu", "layer_norm"]).tensors, ("out",))
    with pytest.raises(RewriteError, match="no number"):  # a norm over a constant
        convert(graph, images(2), [images(4)], [], steps=2)


def test_what_knows_neurons_only_refuses() -> None:
    graph, x = network(["gelu"]), images()
    net = convert(graph, x[:2], [x], [], steps=2, schedule="steps")
    with pytest.raises(UnsupportedError, match="functions and products"):
        SpikingModule(net, steps=2)
    with pytest.raises(CalibrationError, match="functions and products"):
        convert(network(["gelu", "linear", "relu"]), x[:2], [x], parse_stages("max+weights"))
    nodes = (Node("x", "input", (), {"shape": [4, 4]}), Node("y", "gelu", ("x",)))
    nothing = Graph(nodes, {}, ("y",))
    with pytest.raises(UnsupportedError, match="no place where a neuron"):
        convert(nothing, x[:2], [x], [])


def test_dense_operations_are_counted() -> None:
    found = dense_operations(network(["gelu", "linear", "matmul"]))
    assert (found.evaluations, found.multiplications, found.state) == (16, 64, 48)


def test_a_function_of_one_value_is_no_product() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x)
            y = y * torch.sigmoid(1.7 * y)
            return y * torch.sigmoid(self.second(y))

    from convsnn.load import load_module

    ops = [node.op for node in load_module(Both().eval(), torch.randn(2, 4)).smooth]
    assert ops == ["sigmoid_inside", "modulate", "sigmoid_inside", "multiply"]
