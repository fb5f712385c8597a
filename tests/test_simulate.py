"""The simulator against a plain loop over steps, its conservation laws, and its convergence.

Bit-for-bit equality is asserted on dyadic networks, where every sum is exact; the convergence
bound is derived per element (`error_constant`) and asserted in float64.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Maker, dyadic, dyadic_plan, images, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from convsnn.encoders.poisson import Poisson
from convsnn.errors import ConfigError, SimulationError, UnsupportedError
from convsnn.graph import Graph, Node, run
from convsnn.graph.ops import OPS, Role
from convsnn.passes import apply_exact, pool_before_neuron
from convsnn.simulate import Run, simulate
from convsnn.spiking.network import Spiking, to_spiking
from convsnn.spiking.plan import Plan, SitePlan

SEEDS = st.integers(0, 2**32 - 1)


@dataclass(frozen=True)
class Sequence:
    """An encoder that plays given inputs (T, B, ...), sample `ids` of them."""

    played: Tensor
    constant = False
    steps = None

    def still(self, x: Tensor) -> Tensor:
        return x

    def encode(self, x: Tensor, ids: Tensor, steps: range) -> Tensor:
        return self.played[steps.start : steps.stop, ids]

    def fit(self, batches: object) -> "Sequence":
        return self

    def spec(self) -> str:
        return "direct"


@dataclass
class Recorder:
    """A neuron that keeps what went in and came out."""

    neuron: Any
    currents: list[Tensor]
    outputs: list[Tensor]
    graded: bool = False
    last: Any = None

    def scan(self, currents: Tensor, state: Any = None, **keys: Any) -> tuple[Tensor, Any]:
        out, self.last = self.neuron.scan(currents, state, **keys)
        self.currents.append(currents.clone())
        self.outputs.append(out.clone())
        return out, self.last


def recorded(net: Spiking) -> tuple[Spiking, dict[str, Recorder]]:
    """The network with every neuron population recorded."""
    net = replace(net)
    recorders = {name: Recorder(neuron, [], []) for name, neuron in net.neurons.items()}
    net.__dict__["neurons"] = recorders
    return net, recorders


def step_by_step(
    graph: Graph, plan: Plan, inputs: Tensor, *, zero: bool = False
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean outputs (T, B, ...) and spikes (T, B) per site, from the definitions, one step a time.

    `inputs` is (T, B, ...).
    """
    potential: dict[str, Tensor] = {}
    summed: dict[str, Tensor] = {}
    passed: dict[str, Tensor] = {}
    total: Tensor | float = 0.0
    means, spikes = [], {name: [] for name in graph.sites}
    for count, x in enumerate(inputs, 1):
        values: dict[str, Tensor] = {**graph.tensors, **plan.weights}
        for node in graph.nodes:
            given = [values[name] for name in node.inputs]
            if node.role is Role.INPUT:
                values[node.name] = x
            elif node.role is Role.ACTIVATION:
                site = plan.sites[node.name]
                v = potential.get(node.name, site.potential) + given[0]
                v = v if site.shift is None else v + site.shift
                if site.timed_bias is not None and count <= len(site.timed_bias):
                    v = v + site.timed_bias[count - 1]
                fired = v >= site.threshold
                values[node.name] = fired * site.threshold
                kept = torch.where(fired, 0.0, v) if zero else v - fired * site.threshold
                potential[node.name] = kept
                spikes[node.name].append(fired.flatten(1).sum(1))
            elif node.role is Role.MAX_POOL:
                summed[node.name] = summed.get(node.name, 0.0) + given[0]
                pooled = OPS[node.op].run(summed[node.name], **node.attrs)
                values[node.name] = pooled - passed.get(node.name, 0.0)
                passed[node.name] = pooled
            else:
                values[node.name] = OPS[node.op].run(*given, **node.attrs)
        total = total + values[graph.outputs[0]]
        means.append(total / count)
    return torch.stack(means), {name: torch.stack(s) for name, s in spikes.items()}


@settings(max_examples=20)
@given(seed=SEEDS, steps=st.integers(1, 12), chunk=st.integers(1, 5), zero=st.booleans())
def test_equals_the_plain_loop_to_the_last_bit(
    seed: int, steps: int, chunk: int, zero: bool
) -> None:
    graph = random_graph(seed)
    plan = dyadic_plan(graph, seed, timed_bias=True)
    x = images(graph, seed, 3)
    net = to_spiking(graph, plan, neuron="if:reset=zero" if zero else "if")
    got = simulate(net, x, steps=steps, chunk=chunk)
    wanted, spikes = step_by_step(graph, plan, x.expand(steps, *x.shape), zero=zero)
    assert torch.equal(got.outputs[0], wanted)
    for name, counts in spikes.items():
        assert torch.equal(got.spikes[name], counts), name


@settings(max_examples=12)
@given(seed=SEEDS, steps=st.integers(1, 10), chunk=st.integers(1, 5), power=st.integers(1, 2))
def test_a_rising_readout_counts_step_t_as_t(seed: int, steps: int, chunk: int, power: int) -> None:
    graph = random_graph(seed)
    plan, x = dyadic_plan(graph, seed), images(graph, seed, 2)
    net = to_spiking(graph, plan, readout=f"rising:power={power}")
    got = simulate(net, x, steps=steps, chunk=chunk).outputs[0]
    means, _ = step_by_step(graph, plan, x.expand(steps, *x.shape))
    count = torch.arange(1.0, steps + 1).reshape(-1, *[1] * (means.dim() - 1))
    each = torch.diff(means * count, dim=0, prepend=torch.zeros_like(means[:1]))
    weight = count**power
    wanted = (each * weight).cumsum(0) / weight.cumsum(0)
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)
    assert torch.equal(got[0], means[0])


@settings(max_examples=12)
@given(seed=SEEDS, delay=st.integers(0, 4), chunk=st.integers(1, 5), power=st.integers(0, 2))
def test_a_delayed_readout_leaves_the_first_steps_out(
    seed: int, delay: int, chunk: int, power: int
) -> None:
    graph = random_graph(seed)
    plan, x = dyadic_plan(graph, seed), images(graph, seed, 2)
    spec = f"rising:power={power},delay={delay}" if power else f"mean:delay={delay}"
    net = to_spiking(graph, plan, readout=spec)
    got = simulate(net, x, steps=7, chunk=chunk).outputs[0]
    means, _ = step_by_step(graph, plan, x.expand(7, *x.shape))
    count = torch.arange(1.0, 8).reshape(-1, *[1] * (means.dim() - 1))
    each = torch.diff(means * count, dim=0, prepend=torch.zeros_like(means[:1]))[delay:]
    weight = count[: 7 - delay] ** power
    torch.testing.assert_close(got[:delay], means[:delay], atol=1e-4, rtol=1e-4)
    wanted = (each * weight).cumsum(0) / weight.cumsum(0)
    torch.testing.assert_close(got[delay:], wanted, atol=1e-4, rtol=1e-4)


def test_an_unknown_readout_is_refused() -> None:
    graph = random_graph(1)
    with pytest.raises(ConfigError, match="unknown readout 'risin'") as caught:
        to_spiking(graph, dyadic_plan(graph, 1), readout="risin")
    assert "rising" in caught.value.hint


@settings(max_examples=12)
@given(seed=SEEDS, steps=st.integers(1, 10), chunk=st.integers(1, 5))
def test_a_moving_input_equals_the_plain_loop(seed: int, steps: int, chunk: int) -> None:
    graph = random_graph(seed)
    plan = dyadic_plan(graph, seed)
    played = images(graph, seed, 2 * steps).unflatten(0, (steps, 2))
    net = to_spiking(graph, plan, encoder=Sequence(played))
    got = simulate(net, played[0], steps=steps, chunk=chunk)
    wanted, spikes = step_by_step(graph, plan, played)
    assert torch.equal(got.outputs[0], wanted)
    assert all(torch.equal(got.spikes[name], counts) for name, counts in spikes.items())


@settings(max_examples=12)
@given(seed=SEEDS, steps=st.integers(1, 12))
def test_every_population_conserves_charge(seed: int, steps: int) -> None:
    graph = random_graph(seed)
    net, recorders = recorded(to_spiking(graph, dyadic_plan(graph, seed)))
    simulate(net, images(graph, seed, 2), steps=steps, chunk=3)
    for name, recorder in recorders.items():
        put_in = net.plan.sites[name].potential + torch.cat(recorder.currents).sum(0)
        left = recorder.last.potential + torch.cat(recorder.outputs).sum(0)
        assert torch.equal(put_in, left), name


def same(a: Run, b: Run) -> bool:
    """Whether two runs are equal to the last bit."""
    return (
        all(torch.equal(x, y) for x, y in zip(a.outputs, b.outputs, strict=True))
        and {k: v.tolist() for k, v in a.spikes.items()}
        == {k: v.tolist() for k, v in b.spikes.items()}
        and {k: v.tolist() for k, v in a.synaptic_operations.items()}
        == {k: v.tolist() for k, v in b.synaptic_operations.items()}
    )


def picked(result: Run, order: list[int]) -> Run:
    """The samples `order` of a run."""
    return Run(
        tuple(o[:, order] for o in result.outputs),
        {k: v[:, order] for k, v in result.spikes.items()},
        {k: v[:, order] for k, v in result.synaptic_operations.items()},
    )


@pytest.mark.parametrize("encoder", ["direct", "poisson:seed=3,scale=1.0"])
@settings(max_examples=10)
@given(seed=SEEDS, chunk=st.integers(1, 9), data=st.data())
def test_batch_split_order_and_chunk_change_nothing(
    encoder: str, seed: int, chunk: int, data: st.DataObject
) -> None:
    graph = random_graph(seed)
    net = to_spiking(graph, dyadic_plan(graph, seed), encoder=encoder)
    x, ids = images(graph, seed, 5), torch.tensor([4, 10, 0, 2**33, 7])
    whole = simulate(net, x, steps=8, ids=ids)
    assert same(simulate(net, x, steps=8, ids=ids, chunk=chunk), whole)
    order = data.draw(st.permutations(range(5)))
    assert same(simulate(net, x[order], steps=8, ids=ids[order]), picked(whole, order))
    cut = data.draw(st.integers(1, 4))
    for part in (list(range(cut)), list(range(cut, 5))):
        assert same(simulate(net, x[part], steps=8, ids=ids[part]), picked(whole, part))
    short = simulate(net, x, steps=3, ids=ids)
    assert all(torch.equal(a, b[:3]) for a, b in zip(short.outputs, whole.outputs, strict=True))


def test_poisson_input_depends_on_the_sample_number() -> None:
    graph = random_graph(11)
    net = to_spiking(graph, dyadic_plan(graph, 11), encoder=Poisson(scale=1.0))
    x = images(graph, 1, 1).expand(2, *graph.shapes["input"])
    sent = simulate(net, x, steps=16).spikes["input"]
    assert sent[:, 0].tolist() != sent[:, 1].tolist()


def error_constant(graph: Graph, plan: Plan) -> Tensor:
    """C with |sum over t of the output - t * original| <= C at every t, per output element.

    A soft-reset population with thresholds of at least its activations, started between 0 and the
    threshold, adds at most one threshold to the error of its summed current; linear layers carry
    errors by the absolute weights, pools of sums by their windows.
    """
    values: dict[str, Tensor] = {}
    for node in graph.nodes:
        if node.role is Role.INPUT:
            values[node.name] = torch.zeros(1, *graph.shapes[node.name], dtype=torch.float64)
        elif node.role is Role.ACTIVATION:
            values[node.name] = values[node.inputs[0]] + plan.sites[node.name].threshold
        else:
            has_bias = OPS[node.op].macs is not None
            inputs = node.inputs[:2] if has_bias else node.inputs
            arguments = [
                graph.tensors[i].abs() if i in graph.tensors else values[i] for i in inputs
            ]
            values[node.name] = OPS[node.op].run(*arguments, **node.attrs)
    return values[graph.outputs[0]]


def maximal_plan(graph: Graph, x: Tensor, slack: float) -> Plan:
    """Thresholds `slack` times the largest activation on `x`, at most the ceiling."""
    tops = run(graph, x, keep=graph.sites)
    sites = {}
    for name, site in graph.sites.items():
        threshold = (tops[name].max() * slack).clamp(min=1e-3, max=site.ceiling)
        sites[name] = SitePlan(threshold, threshold / 2)
    return Plan(sites)


@settings(max_examples=12)
@given(seed=SEEDS, slack=st.sampled_from([1.0, 1.5]))
def test_output_converges_as_one_over_t(seed: int, slack: float) -> None:
    graph = random_graph(seed, exact=False).to(torch.float64)
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=(2, *graph.shapes["input"])))
    plan = maximal_plan(graph, x, slack)
    steps = 96
    got = simulate(to_spiking(graph, plan), x, steps=steps).outputs[0]
    wanted = run(graph, x)[graph.outputs[0]]
    count = torch.arange(1, steps + 1).double().reshape(-1, 1, 1)
    error = (got - wanted).abs() * count
    assert bool((error <= error_constant(graph, plan) + 1e-9).all())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_error_at_4096_steps_is_small(seed: int) -> None:
    graph = random_graph(seed, exact=False).to(torch.float64)
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=(2, *graph.shapes["input"])))
    net = to_spiking(graph, maximal_plan(graph, x, 1.0))
    got, wanted = simulate(net, x, steps=4096).outputs[0], run(graph, x)[graph.outputs[0]]
    early, late = (float((got[t - 1] - wanted).abs().max()) for t in (16, 4096))
    assert late <= early / 16 + 1e-9
    assert late <= 1e-2 * float(wanted.abs().max())


def pool_graph(shape: tuple[int, ...], **window: int) -> Graph:
    """A max-pool as the first output; a neuron beside it, because there must be one."""
    maker = Maker(np.random.default_rng(0), shape)
    pool = maker.max_pool("input", **window)
    return maker.graph(pool, maker.relu("input"))


@settings(max_examples=40)
@given(
    seed=SEEDS,
    kernel=st.integers(1, 3),
    stride=st.integers(1, 4),
    padding=st.integers(0, 1),
    dilation=st.integers(1, 2),
    chunk=st.integers(1, 4),
)
def test_max_pool_passes_on_the_pool_of_the_summed_input(
    seed: int, kernel: int, stride: int, padding: int, dilation: int, chunk: int
) -> None:
    graph = pool_graph(
        (2, 6, 7), kernel=kernel, stride=stride, padding=min(padding, kernel // 2),
        dilation=dilation,
    )  # fmt: skip
    played = dyadic(np.random.default_rng(seed), (9, 2, 2, 6, 7), reach=16, bits=3)
    net = to_spiking(graph, dyadic_plan(graph, seed), encoder=Sequence(played))
    got = simulate(net, played[0], steps=9, chunk=chunk).outputs[0]
    attrs = graph.by_name[graph.outputs[0]].attrs
    for step in range(9):
        wanted = OPS["max_pool"].run(played[: step + 1].sum(0), **attrs) / (step + 1)
        assert torch.equal(got[step], wanted)


def test_window_of_four_is_the_lossless_pool() -> None:
    """Li and Zeng 2022: the naive maximum of each step would give 1, 1, 1, 1, 1."""
    rows = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 1], [0, 1, 1, 0], [1, 0, 0, 0]]
    played = torch.tensor(rows).float().reshape(5, 1, 1, 2, 2)
    maker = Maker(np.random.default_rng(0), (1, 2, 2))
    pool = maker.max_pool("input")
    graph = maker.graph(maker.relu(maker.conv(pool, 1, 1)))
    for each_step, wanted in ((False, [1, 0, 1, 1, 0]), (True, [1, 1, 1, 1, 1])):
        nodes = tuple(
            replace(n, attrs={**n.attrs, "each_step": each_step}) if n.name == pool else n
            for n in graph.nodes
        )
        graph = replace(graph, nodes=nodes)
        seen: list[Tensor] = []

        def watch(node: Node, steps: range, value: Tensor, seen: list[Tensor] = seen) -> None:
            if node.name == pool:
                seen.append(value)

        plan = dyadic_plan(graph, 0)
        net = to_spiking(graph, plan, encoder=Sequence(played))
        simulate(net, played[0], steps=5, chunk=2, observe=watch)
        assert torch.cat(seen).flatten().tolist() == wanted


def test_pooling_currents_is_exact_in_the_original_and_biased_upwards_in_spikes() -> None:
    maker = Maker(np.random.default_rng(2), (4, 8, 8), exact=False)
    first = maker.relu(maker.conv("input", 8, padding=1))
    second = maker.relu(maker.conv(first, 8, padding=1))
    graph = maker.graph(maker.linear(maker.flatten(maker.max_pool(second)), 3))
    graph = graph.to(torch.float64)
    x = torch.from_numpy(np.random.default_rng(3).normal(size=(4, 4, 8, 8)))
    swapped = apply_exact(graph, x, [pool_before_neuron])
    ops = [n.op for n in swapped.nodes]
    assert ops.index("max_pool") == len(ops) - 1 - ops[::-1].index("relu") - 1
    before, after = run(graph, x)[graph.outputs[0]], run(swapped, x)[swapped.outputs[0]]
    torch.testing.assert_close(after, before, rtol=0, atol=1e-12)

    def last_rate(network: Graph) -> Tensor:
        plan = maximal_plan(network, x, 1.0)
        net, seen = recorded(to_spiking(network, plan))
        simulate(net, x, steps=256)
        return torch.cat(seen[list(network.sites)[-1]].outputs).mean(0)

    wanted = run(graph, x, keep=[second])[second]
    exact = (last_rate(graph) - wanted).mean()
    pooled = torch.nn.functional.max_pool2d(wanted, 2)
    biased = (last_rate(swapped) - pooled).mean()
    assert abs(float(exact)) < 0.01 * float(wanted.mean())
    assert float(biased) > 0.05 * float(pooled.mean())


def softmax_graph() -> Graph:
    maker = Maker(np.random.default_rng(1), (4,))
    scores = maker.linear(maker.relu(maker.linear("input", 6)), 3)
    return maker.graph(scores, maker.emit("softmax", scores, dim=1))


def test_a_readout_is_applied_to_the_accumulated_answer() -> None:
    graph = softmax_graph()
    scores, shares = simulate(
        to_spiking(graph, dyadic_plan(graph, 1)), images(graph, 1, 3), steps=7, chunk=2
    ).outputs
    assert torch.equal(shares, torch.softmax(scores, 2))


def test_outputs_that_no_neuron_reaches_are_the_original_values() -> None:
    maker = Maker(np.random.default_rng(1), (4,))
    fixed = maker.linear("input", 3)
    graph = maker.graph(
        fixed, maker.emit("softmax", fixed, dim=1), maker.relu(maker.linear("input", 2))
    )
    x = images(graph, 1, 3)
    got = simulate(to_spiking(graph, dyadic_plan(graph, 1)), x, steps=8, chunk=3).outputs
    wanted = run(graph, x)
    for output, name in zip(got[:2], graph.outputs, strict=False):
        torch.testing.assert_close(output, wanted[name].expand(8, 3, 3))


def test_a_readout_of_the_bare_input_alone() -> None:
    maker = Maker(np.random.default_rng(1), (4,))
    share = maker.emit("softmax", maker.linear("input", 3), dim=1)
    graph = maker.graph(share, maker.relu(maker.linear("input", 2)))
    x = images(graph, 1, 3)
    got = simulate(to_spiking(graph, dyadic_plan(graph, 1)), x, steps=4).outputs[0]
    torch.testing.assert_close(got, run(graph, x)[share].expand(4, 3, 3))


def small_net() -> tuple[Spiking, Tensor]:
    graph = softmax_graph()
    return to_spiking(graph, dyadic_plan(graph, 1)), images(graph, 1, 3)


REFUSED: Mapping[str, Callable[[Spiking, Tensor], object]] = {
    "no steps": lambda net, x: simulate(net, x, steps=0),
    "negative steps": lambda net, x: simulate(net, x, steps=-3),
    "another shape": lambda net, x: simulate(net, x[:, :3], steps=2),
    "no samples": lambda net, x: simulate(net, x[:0], steps=2),
    "too few numbers": lambda net, x: simulate(net, x, steps=2, ids=torch.arange(2)),
    "no chunk": lambda net, x: simulate(net, x, steps=2, chunk=-1),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_run_is_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        REFUSED[name](*small_net())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_image_that_is_not_finite_is_refused(value: float) -> None:
    net, x = small_net()
    x[1, 2] = value
    with pytest.raises(SimulationError):
        simulate(net, x, steps=2)


def test_an_output_that_is_not_finite_is_refused() -> None:
    net, x = small_net()
    tensors = {k: v * 3e38 if k == "t2" else v for k, v in net.graph.tensors.items()}
    with pytest.raises(SimulationError):
        simulate(replace(net, graph=replace(net.graph, tensors=tensors)), x, steps=8)


def test_nothing_that_stays_analog_is_rewritten() -> None:
    maker = Maker(np.random.default_rng(1), (4,))
    gate = maker.emit("sigmoid", maker.relu(maker.linear("input", 4)))
    graph = maker.graph(maker.relu(gate))
    with pytest.raises(UnsupportedError) as caught:
        to_spiking(graph, dyadic_plan(graph, 1))
    assert len(caught.value.items) == 1
