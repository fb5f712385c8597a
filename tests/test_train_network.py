"""The trainable form of a graph: what it computes is what the simulation computes."""

from typing import Any

import numpy as np
import pytest
import torch
from conftest import Maker, dyadic_plan, images, random_graph
from torch import Tensor, nn

from convsnn.errors import ConfigError, UnsupportedError
from convsnn.graph import Graph
from convsnn.simulate import simulate
from convsnn.spiking.network import to_spiking as convert
from convsnn.spiking.plan import Plan
from convsnn.train import THRESHOLDS
from convsnn.train.direct import prepare
from convsnn.train.form import Form
from convsnn.train.learned import trained_tensors
from convsnn.train.lif import LIF
from convsnn.train.network import TrainableNetwork
from convsnn.train.result import to_spiking
from convsnn.train.scan import ScannedLIF


def trainable(
    graph: Graph, plan: Plan, *, rule: str = "lt-snn", **options: Any
) -> TrainableNetwork:
    """`graph` with integrate-and-fire neurons that start as `plan` says."""
    sites = {
        name: LIF(
            THRESHOLDS.create(rule, unit=planned.threshold),
            reset="soft",
            sends="threshold",
            potential=nn.Parameter(planned.potential.clone()),
        )
        for name, planned in plan.sites.items()
    }
    shifts = {n: p.shift for n, p in plan.sites.items() if p.shift is not None}
    return TrainableNetwork(graph, sites, shifts=shifts, **options)


def normed(seed: int = 0, *, softmax: bool = False) -> Graph:
    """A small convolutional network with batch norm."""
    maker = Maker(np.random.default_rng(seed), (2, 6, 6), exact=False)
    x = maker.relu(maker.batch_norm(maker.conv("input", 4, padding=1)))
    x = maker.max_pool(maker.relu(maker.batch_norm(maker.conv(x, 6, padding=1))))
    out = maker.linear(maker.flatten(x), 3)
    return maker.graph(maker.emit("softmax", out, dim=1) if softmax else out)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("rule", ["fixed", "lt-snn", "ltmd", "dsr"])
def test_it_computes_what_the_simulation_does_to_the_last_bit(seed: int, rule: str) -> None:
    graph = random_graph(seed)
    plan = dyadic_plan(graph, seed)
    x = images(graph, seed, 3)
    network = trainable(graph, plan, rule=rule).eval()
    with torch.no_grad():
        got = network.predict(network(x, steps=4))
    assert torch.equal(got, simulate(convert(graph, plan), x, steps=4).outputs[0])
    again = to_spiking(network)
    assert torch.equal(got, simulate(again, x, steps=4).outputs[0])
    assert again.neuron == "if"


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("readout", ["mean", "rising:delay=1", "rising:power=2"])
def test_batch_norm_is_folded_into_the_result(softmax: bool, readout: str) -> None:
    graph = normed(softmax=softmax)
    plan = dyadic_plan(graph, 1)
    network = trainable(graph, plan, readout=readout).eval()
    x = torch.randn(200, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        got = network.predict(network(x, steps=6))
    net = to_spiking(network)
    assert not [n for n in net.graph.nodes if n.op == "batch_norm"]
    wanted = simulate(net, x, steps=6).outputs[0]
    assert float((got.argmax(2) == wanted.argmax(2)).double().mean()) >= 0.995
    assert float((got - wanted).abs().median()) < 1e-5


def test_batch_norm_takes_its_statistics_over_time_and_batch() -> None:
    graph = normed()
    network = trainable(graph, dyadic_plan(graph, 1)).train()
    node = [n for n in graph.nodes if n.op == "batch_norm"][1]
    before = graph.tensors[node.inputs[3]]
    seen: list[Tensor] = []
    source = graph.by_name[node.inputs[0]].inputs[0]
    hook = network.site(source).register_forward_hook(lambda _m, _i, out: seen.append(out))
    network(torch.randn(5, 2, 6, 6), steps=4)
    hook.remove()
    conv = graph.by_name[node.inputs[0]]
    currents = torch.nn.functional.conv2d(
        seen[0].flatten(0, 1), graph.tensors[conv.inputs[1]], graph.tensors[conv.inputs[2]],
        padding=1,
    )  # fmt: skip
    moved = network.tensors()[node.inputs[3]]
    torch.testing.assert_close(moved, 0.9 * before + 0.1 * currents.mean((0, 2, 3)))
    fixed = trainable(graph, dyadic_plan(graph, 1), fixed_statistics=True).train()
    fixed(torch.randn(5, 2, 6, 6), steps=4)
    assert torch.equal(fixed.tensors()[node.inputs[3]], before)


def gradients(network: TrainableNetwork, x: Tensor) -> dict[str, Tensor]:
    """Gradients of a loss by the parameters' names."""
    loss = network(x, steps=5).square().mean()
    loss.backward()
    return {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("seed", range(3))
def test_checkpointing_changes_no_gradient_and_no_statistics(seed: int) -> None:
    graph = normed(seed)
    x = torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(seed))
    plain = trainable(graph, dyadic_plan(graph, seed)).train()
    saving = trainable(graph, dyadic_plan(graph, seed), checkpointing=True).train()
    one, two = gradients(plain, x), gradients(saving, x)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    for name, tensor in plain.tensors().items():
        assert torch.equal(tensor, saving.tensors()[name]), name


def test_gradients_reach_every_parameter() -> None:
    graph = random_graph(3, exact=False)
    network = trainable(graph, dyadic_plan(graph, 2))
    found = gradients(network, images(graph, 0, 16))
    silent = [n for n, p in network.named_parameters() if n not in found]
    assert not silent
    assert all(bool(g.isfinite().all()) for g in found.values())
    assert {n for n, _ in network.named_weights()} == trained_tensors(graph)


def test_what_does_not_depend_on_time_runs_once() -> None:
    graph = random_graph(0)
    network = trainable(graph, dyadic_plan(graph, 0))
    x = images(graph, 0, 2)
    first = next(iter(graph.sites))
    sizes: list[int] = []

    def watch(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
        sizes.append(given[0].stride(0))

    network.site(first).register_forward_pre_hook(watch)
    same = network(x, steps=3)
    sequence = network(x.expand(3, *x.shape), steps=3)
    assert sizes[0] == 0  # one value in memory, seen three times
    assert sizes[1] != 0
    assert torch.equal(same, sequence)


def test_state_is_named_as_the_graph_names_it() -> None:
    graph = normed()
    network = trainable(graph, dyadic_plan(graph, 0))
    state = network.state_dict()
    assert graph.tensors.keys() <= state.keys()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    other = trainable(graph, dyadic_plan(graph, 0))
    other.load_state_dict(network.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(
        other.state_dict().values(), network.state_dict().values(), strict=True))  # fmt: skip
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict({k: v for k, v in state.items() if k not in graph.tensors})


def test_what_does_not_fit_is_refused() -> None:
    graph = random_graph(0)
    network = trainable(graph, dyadic_plan(graph, 0))
    x = images(graph, 0, 2)
    with pytest.raises(ConfigError, match="at least 1"):
        network(x, steps=0)
    with pytest.raises(ConfigError, match="takes samples"):
        network(x[..., 1:], steps=2)
    with pytest.raises(ConfigError, match="takes samples"):
        network(x.expand(3, *x.shape), steps=2)
    with pytest.raises(ConfigError, match="neuron module"):
        TrainableNetwork(graph, {})
    sent = {name: LIF(THRESHOLDS.create("fixed"), output="potential") for name in graph.sites}
    with pytest.raises(UnsupportedError, match="no simulation has such neurons"):
        to_spiking(TrainableNetwork(graph, sent))


OPTIONS = {
    "reset": ["soft", "hard"], "decay": [1.0, 0.5], "sends": ["one", "threshold"],
    "detach_reset": [False, True], "strict": [False, True],
}  # fmt: skip


@pytest.mark.parametrize("rule", ["fixed", "ltmd", "lt-snn", "lt-snn:whole=true,mode=repo_sum"])
@pytest.mark.parametrize("seed", range(16))
def test_all_steps_at_once_have_the_gradients_of_step_by_step(rule: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    options = {key: values[int(rng.integers(2))] for key, values in OPTIONS.items()}
    unit = torch.rand(3, 1, 1, dtype=torch.float64) + 0.5
    found = []
    currents = torch.randn(5, 2, 3, 4, 4, dtype=torch.float64)
    if seed % 2:  # images whose channels are last in memory
        currents = currents.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        currents = currents.unflatten(0, (5, 2))
    upstream = torch.randn(5, 2, 3, 4, 4, dtype=torch.float64)
    for kind in (LIF, ScannedLIF):
        potential = nn.Parameter(0.3 * unit)
        made = THRESHOLDS.create(rule, unit=unit).double()
        lif = kind(made, potential=potential, **options).double()
        given = currents.clone().requires_grad_()
        sent = lif(given)
        sent.backward(upstream)
        grads = [p.grad for p in lif.parameters()]
        found.append([sent.detach(), given.grad, *grads, lif.last_rate])
    assert len(found[0]) == len(found[1]) > 3
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-7, atol=1e-10)


def test_a_leaky_network_is_simulated_as_it_was_trained() -> None:
    graph = random_graph(4)
    sites = {
        name: LIF(THRESHOLDS.create("fixed:value=0.5"), decay=0.5, reset="hard", sends="one")
        for name in graph.sites
    }
    network = TrainableNetwork(graph, sites).eval()
    x = images(graph, 4, 3)
    net = to_spiking(network)
    assert net.neuron.startswith("lif:decay=0.5,reset=zero,sends=one")
    with torch.no_grad():
        assert torch.equal(
            network.predict(network(x, steps=4)), simulate(net, x, steps=4).outputs[0]
        )


def test_behind_batch_norm_a_threshold_is_but_the_width_of_the_surrogate() -> None:
    graph, x = normed(), torch.rand(2, 5, 2, 6, 6)

    def slopes(factor: float) -> tuple[Tensor, list[Tensor | None]]:
        form = Form(threshold=f"fixed:value={factor}", surrogate=f"triangle:gamma={factor}")
        network = prepare(graph, form).network
        with torch.no_grad():
            for node in graph.nodes:
                for name in node.inputs[1:3] if node.op == "batch_norm" else ():
                    network.tensors()[name].mul_(factor)
        logits = network(x, steps=2)
        logits.square().sum().backward()
        weights = [network.tensors()[n.inputs[1]] for n in graph.nodes if n.op == "conv"]
        return logits.detach(), [weight.grad for weight in weights]

    one, four = slopes(1.0), slopes(4.0)
    assert one[0].any()
    assert torch.equal(one[0], four[0])
    for first, second in zip(one[1], four[1], strict=True):
        assert first is not None
        assert second is not None
        assert first.any()
        torch.testing.assert_close(first, second)
