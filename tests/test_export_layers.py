"""Networks that fire layer by layer, in ONNX Runtime alone: our counts, trains and answers."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Maker, dyadic_plan, images, random_graph
from test_export_onnx import STEPS, assert_equal, clipped, leaky, looped, several_outputs

from convsnn.errors import ExportError
from convsnn.export.onnx import onnx_model
from convsnn.graph import Graph
from convsnn.simulate import simulate
from convsnn.spiking.network import Spiking, scheduled, to_spiking
from convsnn.spiking.plan import Plan, SitePlan


class Seen:
    """What our own run shows: counts of every layer at the end, and trains step by step."""

    def __init__(self, net: Spiking) -> None:
        self.net, self.trains = net, dict[str, list[np.ndarray]]()

    def __call__(self, node: Any, span: range, values: torch.Tensor) -> None:
        del span
        if node.name in self.net.graph.sites:
            self.trains.setdefault(f"spikes.{node.name}", []).append(values.numpy())


class Counted(Seen):
    def totals(self, node: Any, place: int, counts: torch.Tensor) -> None:
        del place
        self.trains[f"counts.{node.name}"] = [counts.numpy()]


def ours(net: Spiking, x: torch.Tensor, steps: int) -> dict[str, np.ndarray]:
    trains, counts = Seen(net), Counted(net)
    simulate(net, x, steps=steps, observe=trains)
    answers = simulate(net, x, steps=steps, observe=counts).outputs[0][-1].numpy()
    found = {**trains.trains, **counts.trains}
    return {"logits": answers, **{name: np.concatenate(parts) for name, parts in found.items()}}


def shifted(graph: Graph, seed: int) -> Plan:
    """A dyadic plan with bias shifts, which count once a step."""
    plan, shift = dyadic_plan(graph, seed, timed_bias=True), torch.tensor(0.25)
    return Plan({n: replace(p, shift=shift) for n, p in plan.sites.items()}, plan.weights)


@pytest.mark.parametrize("neuron", ["if", "signed", "burst:gamma=3"])
@pytest.mark.parametrize("seed", range(4))
def test_counts_trains_and_answers_are_equal_to_the_last_bit(neuron: str, seed: int) -> None:
    graph = random_graph(seed)
    if "clip" in {site.kind for site in graph.sites.values()} and neuron.startswith("burst"):
        neuron = "if"
    net = to_spiking(graph, shifted(graph, seed), neuron=neuron, schedule="layers")
    x = images(graph, seed, 3)
    model = onnx_model(net, spikes=True)
    for steps in (4, 8):  # powers of two, for dividing by which is exact
        wanted = ours(net, x, steps)
        assert_equal(looped(model, x.numpy(), steps), wanted)
    most = 3 if neuron.startswith("burst") else 1
    for name in graph.sites:  # a train is its count, sorted
        site = np.broadcast_to(net.plan.sites[name].threshold, wanted[f"counts.{name}"].shape)
        train = wanted[f"spikes.{name}"] / site
        np.testing.assert_array_equal(train.sum(0), wanted[f"counts.{name}"])
        assert abs(train).max() <= most


@pytest.mark.parametrize("build", [leaky, clipped])
def test_signed_neurons_send_counts_of_both_signs_up_to_the_ceiling(build: Any) -> None:
    graph = build(Maker(np.random.default_rng(2), (2, 5, 4)))
    net = to_spiking(graph, dyadic_plan(graph, 2), neuron="signed", schedule="layers")
    x = images(graph, 0, 3)
    wanted = ours(net, x, 4)
    assert (wanted[f"counts.{next(iter(graph.sites))}"] < 0).any() == (build is leaky)
    assert_equal(looped(onnx_model(net, spikes=True), x.numpy(), 4), wanted)


def test_several_outputs_a_tail_and_another_batch() -> None:
    graph = several_outputs(Maker(np.random.default_rng(1), (2, 4, 4)))
    net = to_spiking(graph, dyadic_plan(graph, 1), schedule="layers")
    model = onnx_model(net)
    for batch in (1, 5):
        x = images(graph, 3, batch)
        wanted = simulate(net, x, steps=4).outputs
        got = looped(model, x.numpy(), 4)
        assert [value.shape for value in got.values()] == [tuple(w[-1].shape) for w in wanted]
        for value, output in zip(got.values(), wanted, strict=True):
            np.testing.assert_allclose(value, output[-1].numpy(), rtol=1e-6, atol=1e-6)


def test_on_real_numbers_in_float64_counts_are_the_same() -> None:
    graph = random_graph(3, exact=False).to(torch.float64)
    third, some = torch.tensor(1 / 3).double(), torch.tensor(0.1).double()
    net = to_spiking(graph, Plan({n: SitePlan(third, some) for n in graph.sites}),
                     schedule="layers")  # fmt: skip
    x = images(graph, 3, 2).double()
    named = looped(onnx_model(net, spikes=True), x.numpy(), STEPS)
    for name, value in ours(net, x, STEPS).items():
        np.testing.assert_allclose(named[name], value, rtol=1e-12, atol=1e-12, err_msg=name)


def test_every_form_belongs_to_a_schedule_and_the_others_are_named() -> None:
    graph = random_graph(1)
    net = to_spiking(graph, dyadic_plan(graph, 1))
    waiting = scheduled(net, "layers")
    with pytest.raises(ExportError, match="'layers' has no form 'step'") as refused:
        onnx_model(waiting, form="step")
    assert "--form layers" in refused.value.hint
    assert "--schedule steps" in refused.value.hint
    with pytest.raises(ExportError, match="no form 'loop'"):
        onnx_model(waiting, form="loop")
    with pytest.raises(ExportError, match="'steps' has no form 'layers'") as other:
        onnx_model(net, form="layers")
    assert "--schedule layers" in other.value.hint
    assert onnx_model(waiting).graph.name == "layers"
    assert onnx_model(net).graph.name == "step"
