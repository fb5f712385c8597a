"""Networks that fire layer by layer: their counts, their pools, what refuses, what is reported."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from calibrate import parse_stages
from convsnn.errors import ConfigError, UnsupportedError
from convsnn.export import load_artifact, save_artifact
from convsnn.graph import run
from convsnn.load import load_module
from convsnn.measure import evaluate
from convsnn.measure.decomposition import decompose
from convsnn.neurons import NEURONS
from convsnn.report.page.assemble import assemble
from convsnn.simulate import Program, Simulation, SpikingModule, record, simulate
from convsnn.spiking.network import Spiking, to_spiking
from convsnn.spiking.plan import Plan, SitePlan
from convsnn.spiking.schedule import latency, scored_steps, sorted_train
from convsnn.train.distillation import Tuning
from convsnn.train.finetune import finetune, trainable
from convsnn.train.quantiser import _Quantise
from convsnn.train.samples import InMemory
from convsnn.train.settings import Settings
from convsnn.workflows.convert.network import convert


class Net(nn.Module):
    """A stem, a residual block, max-pooling, a linear layer; every weight a multiple of 1/8."""

    def __init__(self, activation: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.stem, self.inner = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu1, self.relu2 = activation(), activation()
        self.pool, self.last = nn.MaxPool2d(2), nn.Linear(16, 3)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randint(-4, 5, parameter.shape) / 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.stem(x))
        x = self.pool(self.relu2(self.inner(x) + x))
        return self.last(x.flatten(1))


def images(count: int = 5, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-8, 9, (count, 2, 4, 4), generator=generator) / 8


def network(neuron: str = "if", activation: type[nn.Module] = nn.ReLU) -> Spiking:
    torch.manual_seed(3)
    graph = load_module(Net(activation), images(2))
    sites = {
        name: SitePlan(
            torch.tensor([0.5, 1.0, 0.25, 2.0]).reshape(4, 1, 1),
            torch.tensor([0.25, 0.5, 0.125, 0.75]).reshape(4, 1, 1),
            torch.tensor(0.125),
        )
        for name in graph.sites
    }
    return to_spiking(graph, Plan(sites), neuron=neuron, schedule="layers")


def sites_of(net: Spiking) -> tuple[str, str]:
    first, second = net.graph.sites
    return first, second


def quantised(net: Spiking, z: Tensor, name: str, steps: int, most: int = 1) -> Tensor:
    planned = net.plan.sites[name]
    total = (z + planned.shift) * steps + planned.potential
    return (total / planned.threshold).floor().clamp(0, most * steps) * planned.threshold / steps


@pytest.mark.parametrize("neuron", ["if", "burst:gamma=3", "signed"])
@pytest.mark.parametrize("steps", [1, 4, 16])
def test_it_is_a_plain_quantised_network(neuron: str, steps: int) -> None:
    net, x = network(neuron), images()
    most = 3 if neuron.startswith("burst") else 1
    graph, (one, two) = net.graph, sites_of(net)
    weights = [graph.tensors[n] for node in graph.nodes for n in node.inputs if n in graph.tensors]
    a = quantised(net, F.conv2d(x, weights[0], weights[1], padding=1), one, steps, most)
    if neuron == "signed":  # it stands for the rectified sum, so that a shift cannot push it up
        z = F.conv2d(x, weights[0], weights[1], padding=1) + 0.125
        planned = net.plan.sites[one]
        total = (z * steps).clamp(min=0) + planned.potential
        a = (total / planned.threshold).floor().clamp(0, steps) * planned.threshold / steps
        z = F.conv2d(a, weights[2], weights[3], padding=1) + a + 0.125
        planned = net.plan.sites[two]
        total = (z * steps).clamp(min=0) + planned.potential
        b = (total / planned.threshold).floor().clamp(0, steps) * planned.threshold / steps
    else:
        b = quantised(net, F.conv2d(a, weights[2], weights[3], padding=1) + a, two, steps, most)
    wanted = F.linear(F.max_pool2d(b, 2).flatten(1), weights[4], weights[5])
    assert torch.equal(simulate(net, x, steps=steps).outputs[0][0], wanted)


@pytest.mark.parametrize("neuron", ["if", "burst:gamma=3"])
def test_it_is_a_simulation_that_is_given_whole_trains(neuron: str) -> None:
    """Every layer takes in T steps, one after another, and fires in the T that follow."""
    net, x, steps = network(neuron), images(), 8
    graph, trains = net.graph, dict[str, Tensor]()
    for node in graph.nodes:
        arguments = [graph.tensors.get(i, trains.get(i)) for i in node.inputs]
        if not node.inputs:
            trains[node.name] = x.expand(steps, *x.shape)
            continue
        if node.name not in graph.sites:
            outputs = []
            for step in range(steps):
                now = [
                    a if i in graph.tensors else a[step]
                    for i, a in zip(node.inputs, arguments, strict=True)
                ]
                part = replace(graph)
                outputs.append(_apply(part, node, now))
            trains[node.name] = torch.stack(outputs)
            continue
        planned = net.plan.sites[node.name]
        potential = planned.potential.expand(x.shape[0], *graph.shapes[node.name]).clone()
        for step in range(steps):
            potential += trains[node.inputs[0]][step] + planned.shift
        sent = []
        most = net.neurons[node.name].spikes_per_step
        for _ in range(steps):  # nothing comes any more
            spikes = (potential / planned.threshold).floor().clamp(0, most)
            potential = potential - spikes * planned.threshold
            sent.append(spikes * planned.threshold)
        trains[node.name] = torch.stack(sent)
    seen: dict[str, Tensor] = {}
    result = simulate(
        net, x, steps=steps, observe=lambda node, _, value: seen.update({node.name: value})
    )
    assert torch.equal(result.outputs[0][0], trains[graph.outputs[0]].mean(0))
    for name in graph.sites:
        assert torch.equal(seen[name], trains[name])
        events = (trains[name] != 0).sum((0, *range(2, trains[name].dim())))
        assert torch.equal(result.spikes[name][0], events)
    (pool,) = [node.name for node in graph.nodes if node.op == "max_pool"]
    assert torch.equal(seen[pool], trains[pool])  # the maximum of each step alone
    assert torch.equal(result.spikes[pool][0], (trains[pool] != 0).sum((0, 2, 3, 4)))


def _apply(graph: object, node: object, arguments: list[Tensor]) -> Tensor:
    from convsnn.graph.ops import OPS

    del graph
    found: Tensor = OPS[node.op].run(*arguments, **node.attrs)  # type: ignore[attr-defined]
    return found


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(-6, 18), min_size=1, max_size=6),
    most=st.integers(1, 3),
)
def test_the_largest_of_sorted_trains_is_their_maximum_at_every_step(
    counts: list[int], most: int
) -> None:
    total = 6
    n = torch.tensor(counts, dtype=torch.float32).clamp(-total, most * total)
    train = sorted_train(n, range(total), total=total, most=most)
    assert torch.equal(train.sum(0), n)
    assert float(train.abs().max()) <= most
    assert torch.equal(
        train.amax(1), sorted_train(n.max()[None], range(total), total=total, most=most)[:, 0]
    )
    parts = [sorted_train(n, range(a, a + 2), total=total, most=most) for a in (0, 2, 4)]
    assert torch.equal(torch.cat(parts), train)


def test_each_number_of_steps_is_a_run_of_its_own() -> None:
    net, x = network(), images()
    several = simulate(net, x, steps=8, at=[1, 2, 8])
    for place, steps in enumerate([1, 2, 8]):
        alone = simulate(net, x, steps=steps)
        assert torch.equal(several.outputs[0][place], alone.outputs[0][0])
        for name in alone.spikes:
            assert torch.equal(several.spikes[name][place], alone.spikes[name][0])


def test_where_leaky_relu_stands_spikes_have_both_signs() -> None:
    net, x = network(activation=nn.LeakyReLU), images()
    seen: dict[str, Tensor] = {}
    simulate(net, x, steps=8, observe=lambda node, _, value: seen.update({node.name: value}))
    first = sites_of(net)[0]
    assert set(net.kinds.values()) == {"signed"}
    z = run(net.graph, x, keep=[net.graph.by_name[first].inputs[0]])
    current = z[net.graph.by_name[first].inputs[0]] + 0.125
    wanted = torch.where(current > 0, current, 0.01 * current)
    planned = net.plan.sites[first]
    counts = ((wanted * 8 + planned.potential) / planned.threshold).floor().clamp(-8, 8)
    assert torch.equal(seen[first].sum(0), counts * planned.threshold)


@pytest.mark.parametrize("neuron", ["msat", "lif", "if:reset=zero"])
def test_neurons_that_cannot_wait_say_why(neuron: str) -> None:
    with pytest.raises(ConfigError, match="cannot fire layer by layer: ") as error:
        network(neuron)
    assert "it does not say" not in str(error.value)


def test_what_looks_at_single_steps_is_refused() -> None:
    net = network()
    graph, plan = net.graph, net.plan
    with pytest.raises(ConfigError, match="poisson"):
        to_spiking(graph, plan, encoder="poisson", schedule="layers")
    with pytest.raises(ConfigError, match="rising"):
        to_spiking(graph, plan, readout="rising", schedule="layers")
    with pytest.raises(ConfigError, match="no schedule 'both'"):
        to_spiking(graph, plan, schedule="both")
    with pytest.raises(UnsupportedError, match="max-pooling before the neuron"):
        convert(
            graph, images(2), [images()], parse_stages("mse"), steps=4, schedule="layers",
            max_pool="current",
        )  # fmt: skip


def test_scores_and_report_say_what_was_run(tmp_path: Path) -> None:
    net = network()
    batches = [(images(6), torch.zeros(6, dtype=torch.int64))]
    found = evaluate(net, batches, steps=16)
    assert found.activity.at == scored_steps("layers", 16) == [1, 2, 4, 8, 16]
    header = {"command": "", "seed": 0, "model": {}, "data": {}, "method": {}}
    report = assemble(net, found, header=header)
    assert report["schedule"] == {
        "name": "layers", "scored": [1, 2, 4, 8, 16], "first_answer": 48, "steps_per_answer": 16,
        "calibrated_for": None,
    }  # fmt: skip
    assert [step for step, value in enumerate(report["snn"]["agreement"], 1) if value is None] == [
        step for step in range(1, 17) if step not in (1, 2, 4, 8, 16)
    ]
    assert [source["kind"] for source in report["sources"]] == ["input"]  # the pool is binary
    last = report["layers"][0]
    run_alone = simulate(net, batches[0][0], steps=16)
    rate = float(run_alone.spikes[last["name"]].sum()) / (6 * 16 * last["neurons"])
    assert last["firing_rate"][-1] == pytest.approx(rate)
    assert latency(net.graph, "layers", 16).first == 48
    json.dumps(report)
    save_artifact(net, tmp_path / "n.safetensors")
    assert load_artifact(tmp_path / "n.safetensors").schedule == "layers"


def test_a_diagnosis_finds_no_unevenness() -> None:
    net = network()
    found = decompose(net, [(images(6), None)], steps=4)
    for layer in found.layers:
        assert layer.rms is not None
        assert layer.rms["uneven"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("stages", ["mse", "mse+weights", "mse+bias"])
def test_stages_calibrate_what_fires_layer_by_layer(stages: str) -> None:
    torch.manual_seed(0)
    graph = load_module(Net(), images(2))
    batches = [images(20, seed) for seed in range(3)]
    net = convert(graph, images(2), batches, parse_stages(stages), steps=4, schedule="layers")
    plain = convert(graph, images(2), batches, parse_stages("mse"), steps=4, schedule="layers")
    x = torch.cat(batches)
    wanted = run(graph, x)[graph.outputs[0]]

    def gap(of: Spiking) -> float:
        return float((simulate(of, x, steps=4).outputs[0][0] - wanted).norm() / wanted.norm())

    assert gap(net) <= gap(plain) * 1.02
    assert net.plan.record[0]["steps"] == 4


def test_patient_neurons_have_a_reference() -> None:
    """Given all current in the first of many steps, a neuron that fires step by step ends up with
    the count, if it is given the time."""
    for spec, most in (("if", 1), ("burst:gamma=2", 2)):
        neuron = NEURONS.create(spec, threshold=0.5, potential=0.25)
        total = torch.arange(-16, 40)[None] / 8
        currents = torch.cat([total[None], torch.zeros(7, *total.shape)])
        sent, _ = neuron.scan(currents)
        assert torch.equal(sent.sum(0) / 0.5, neuron.count(total, 8))  # type: ignore[attr-defined]
        assert float(neuron.count(total, 8).max()) <= 8 * most  # type: ignore[attr-defined]


def test_the_gradient_of_the_quantiser_is_straight_through() -> None:
    value = torch.tensor([[0.5], [2.0]], dtype=torch.float64, requires_grad=True)
    start = torch.tensor([[0.25], [1.0]], dtype=torch.float64, requires_grad=True)
    mean = torch.linspace(-1, 3, 22, dtype=torch.float64).reshape(1, 1, 2, 11).requires_grad_()
    steps = 4
    sent = _Quantise.apply(mean, start, value, steps)
    place = (mean * steps + start) / value
    inner = (place + (place.floor() - place).detach()) * value / steps
    wanted = torch.where(place > steps, value, torch.where(place < 0, 0 * value, inner))
    assert torch.allclose(sent, wanted)
    weights = torch.arange(22, dtype=torch.float64).reshape(1, 1, 2, 11)
    got = torch.autograd.grad((sent * weights).sum(), [mean, start, value])
    expected = torch.autograd.grad((wanted * weights).sum(), [mean, start, value])
    for one, other in zip(got, expected, strict=True):
        assert torch.allclose(one, other)


@pytest.mark.parametrize("method", ["lt-snn", "ltmd", "fixed"])
def test_fine_tuning_follows_the_schedule(method: str) -> None:
    net, x = network(), images(16)
    labels = torch.arange(16) % 3
    tuned = finetune(
        net, InMemory(x, labels), Settings(steps=4, epochs=2, batch_size=8), Tuning(method=method)
    ).net
    assert tuned.schedule == "layers"
    assert tuned.neuron == "if"
    moved = [
        n
        for n in net.plan.sites
        if not torch.equal(net.plan.sites[n].threshold, tuned.plan.sites[n].threshold)
    ]
    assert bool(moved) == (method != "fixed")
    trained = trainable(tuned, Tuning(method="fixed")).eval()
    logits = trained(x, steps=4)
    assert torch.allclose(logits[0], simulate(tuned, x, steps=4).outputs[0][0], atol=1e-5)
    with pytest.raises(ConfigError, match="single spikes"):
        finetune(net, InMemory(x, labels), Settings(), Tuning(method="dsr"))


def test_recorded_trains_are_sorted_and_leave_what_was_not_sent() -> None:
    net, x = network(), images()
    names = list(net.graph.sites)
    seen = record(net, x, steps=4, layers=names)
    assert torch.equal(seen.outputs[0][0], simulate(net, x, steps=4).outputs[0][0])
    for name in names:
        spikes = seen.spikes[name]
        assert set(spikes.unique().tolist()) <= {0.0, 1.0}
        assert torch.equal(spikes.sort(0, descending=True).values, spikes)
        left = seen.potentials[name][-1]
        full = spikes.sum(0) == 4
        assert bool((left[~full] < seen.thresholds[name][-1][~full]).all())
    with pytest.raises(UnsupportedError, match="single steps"):
        SpikingModule(net, steps=4)
    with pytest.raises(ConfigError, match="before its last step"):
        Simulation(Program(net), x)
