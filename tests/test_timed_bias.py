"""Biases that change from step to step: every way to run, keep and export such a network."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import Maker, dyadic_plan, images, random_graph
from torch import Tensor

import convsnn
from convsnn.errors import ConvsnnError, LoadError, UnsupportedError
from convsnn.export import load_artifact, save_artifact
from convsnn.export.nir import save_nir
from convsnn.neurons.fused import compiler
from convsnn.simulate import Engine, SpikingModule, simulate
from convsnn.spiking.network import Spiking, scheduled, to_spiking
from convsnn.spiking.plan import SitePlan
from convsnn.train.finetune import require_trainable

STEPS = 6


@pytest.fixture(scope="module")
def known() -> tuple[Spiking, Tensor]:
    """A network with biases for three steps, which change what it answers."""
    graph = random_graph(3)
    plan = dyadic_plan(graph, 3)
    sites = {
        name: replace(p, timed_bias=torch.tensor([1.0, -0.5, 0.25]).reshape(3, 1, 1, 1))
        for name, p in plan.sites.items()
        if len(graph.sites[name].shape) == 3
    }
    net = to_spiking(graph, replace(plan, sites={**plan.sites, **sites}))
    x = images(graph, 3, 3)
    plain = simulate(to_spiking(graph, plan), x, steps=STEPS)
    assert not torch.equal(plain.outputs[0], simulate(net, x, steps=STEPS).outputs[0])
    return net, x


def test_what_is_added_and_its_sum() -> None:
    timed = torch.tensor([[4.0], [2.0]])
    planned = SitePlan(torch.tensor(1.0), torch.tensor(0.0), timed_bias=timed)
    shifted = replace(planned, shift=torch.tensor(0.5))
    for one, more in ((planned, 0.0), (shifted, 0.5)):
        added = one.added(range(1, 4))
        assert added is not None
        assert added.flatten().tolist() == [2 + more, more, more]
        total = one.added_up(4)
        assert total is not None
        assert total.tolist() == [6 + 4 * more]
    assert replace(planned, timed_bias=None).added_up(3) is None


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.skipif(compiler() is not None, reason="nothing can be compiled here")
def test_compiled_loops_and_chunks_change_nothing(known: tuple[Spiking, Tensor], precision) -> None:
    net, x = known
    wanted = simulate(net, x, steps=STEPS, engine=Engine(precision))
    for chunk in (1, 4):
        got = simulate(net, x, steps=STEPS, chunk=chunk, engine=Engine(precision, fused=True))
        torch.testing.assert_close(got.outputs[0], wanted.outputs[0])
        assert all(torch.equal(got.spikes[name], wanted.spikes[name]) for name in wanted.spikes)


def test_as_a_module_and_from_its_file(known: tuple[Spiking, Tensor], tmp_path: Path) -> None:
    net, x = known
    wanted = simulate(net, x, steps=STEPS).outputs[0]
    assert torch.equal(SpikingModule(net, steps=STEPS)(x), wanted[-1])
    path = tmp_path / "net.safetensors"
    save_artifact(net, path)
    assert torch.equal(simulate(load_artifact(path), x, steps=STEPS).outputs[0], wanted)
    name = next(n for n, p in net.plan.sites.items() if p.timed_bias is not None)
    wrong = replace(net.plan.sites[name], timed_bias=torch.zeros(3, 1, 99, 1))
    plan = replace(net.plan, sites={**net.plan.sites, name: wrong})
    with pytest.raises(ConvsnnError, match=r"timed_bias.*does not fit"):
        save_artifact(replace(net, plan=plan), path)
    empty, bare = torch.zeros(0, 1, 1, 1), torch.zeros(3, 1)
    for damaged in (torch.zeros(()), empty, bare, torch.full((3, 1, 1, 1), torch.nan)):
        held = safetensors.torch.load_file(path)
        held[f"timed_bias/{name}"] = damaged
        with safetensors.safe_open(path, framework="pt") as file:
            safetensors.torch.save_file(held, tmp_path / "damaged.safetensors", file.metadata())
        with pytest.raises(LoadError):
            load_artifact(tmp_path / "damaged.safetensors")


def test_a_layer_that_waits_takes_all_of_it_in() -> None:
    maker = Maker(np.random.default_rng(0), (1, 1))
    graph = maker.graph(maker.relu("input"))
    (name,) = graph.sites
    planned = SitePlan(torch.ones(1, 1), torch.zeros(1, 1), timed_bias=torch.ones(2, 1, 1))
    net = to_spiking(graph, replace(dyadic_plan(graph, 0), sites={name: planned}))
    x = torch.tensor([[[0.25]]])
    waits = simulate(scheduled(net, "layers"), x, steps=4).outputs[0][-1]
    assert float(waits) == 3 / 4  # 4 x .25 and twice 1


def test_what_cannot_have_it_says_so(known: tuple[Spiking, Tensor], tmp_path: Path) -> None:
    net, _ = known
    with pytest.raises(ConvsnnError, match="changes from step to step") as caught:
        save_nir(net, tmp_path / "net.nir", initial="metadata", timesteps=STEPS)
    assert "ftbc" in str(caught.value) + caught.value.hint
    with pytest.raises(UnsupportedError, match="change from step to step") as refused:
        require_trainable(net)
    assert "ftbc" in refused.value.hint


def test_converted_by_it_from_python() -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    x = torch.rand(40, 6)
    snn = convsnn.convert(module.eval(), x, timesteps=4, calibrate="mse+ftbc")
    (planned,) = snn.network.plan.sites.values()
    assert planned.timed_bias is not None
    assert planned.timed_bias.shape == (4, 8)
    (made,) = (stage for stage in snn.network.plan.record if stage["stage"] == "ftbc")
    assert made["steps"] == 4
