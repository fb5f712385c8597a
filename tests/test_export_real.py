"""Trained networks on real images: what ONNX Runtime alone answers, step by step.

What is asserted (and why no more): in float64 every prediction is ours; in float32 sums are rounded
in another order, a spike at the very threshold comes a step later, and 99.5 % are ours.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_export_onnx import looped, stepped

import convsnn
from convsnn.export.onnx import onnx_model
from convsnn.simulate import simulate
from convsnn.spiking.network import Spiking, scheduled
from convsnn.workflows.subject.saved import data_of

STEPS = 16


def shown(net: Spiking, images: int) -> torch.Tensor:
    """Test images of the data that the network names."""
    data, _ = data_of(net, None, {})
    parts, found = data.test.batches(images), torch.empty(0)
    for x, _ in parts:
        found = torch.cat([found, x])
        if len(found) >= images:
            break
    return found[:images]


def agreement(
    net: Spiking, x: torch.Tensor, dtype: torch.dtype, *, steps: int = STEPS
) -> np.ndarray:
    """Share of images with our prediction, after every step."""
    net, x = net.to(dtype), x.to(dtype)
    ours = simulate(net, x, steps=steps, count=False).outputs[0].numpy().argmax(2)
    form = "loop" if dtype is torch.float32 else "step"  # each is run somewhere
    run = looped if form == "loop" else stepped
    theirs = run(onnx_model(net, form=form), x.numpy(), steps)["logits"].argmax(2)
    share: np.ndarray = (ours == theirs).mean(1)
    return share


@pytest.fixture(scope="module")
def demo() -> Spiking:
    """The bundled network on real digits."""
    return convsnn.convert(
        "zoo:mnist5k-cnn", timesteps=STEPS, calibrate="mse", calibration_samples=100
    ).network


def with_neuron(net: Spiking, neuron: str) -> Spiking:
    return Spiking(net.graph, net.plan, neuron, net.encoder, net.provenance, net.readout)


@pytest.mark.slow
@pytest.mark.parametrize("neuron", ["if", "msat:reference=2"])
def test_the_demo_network_predicts_as_ours_does(demo: Spiking, neuron: str) -> None:
    net = with_neuron(demo, neuron)
    assert agreement(net, shown(net, 200), torch.float32).min() >= 0.995


@pytest.mark.slow
@pytest.mark.parametrize("neuron", ["if", "msat:reference=2", "burst:gamma=3", "signed"])
def test_in_float64_every_prediction_is_ours(demo: Spiking, neuron: str) -> None:
    net = with_neuron(demo, neuron)
    assert agreement(net, shown(net, 8), torch.float64).min() == 1


@pytest.mark.slow
def test_the_demo_network_layer_by_layer_has_our_counts(demo: Spiking) -> None:
    net = scheduled(demo, "layers").to(torch.float64)
    x, counts = shown(net, 8).double(), dict[str, np.ndarray]()

    class Counts:
        def __call__(self, *_: Any) -> None:
            raise AssertionError("counts are asked for")

        def totals(self, node: Any, place: int, found: torch.Tensor) -> None:
            del place
            counts[node.name] = found.numpy()

    answers = simulate(net, x, steps=8, observe=Counts()).outputs[0][-1].numpy()
    got = looped(onnx_model(net, spikes=True), x.numpy(), 8)
    np.testing.assert_allclose(got["logits"], answers, rtol=1e-9, atol=1e-9)
    assert counts.keys() == net.graph.sites.keys()
    for name, value in counts.items():
        np.testing.assert_array_equal(got[f"counts.{name}"], value)


@pytest.mark.slow
def test_resnet20_in_float64_predicts_the_same_at_every_step(
    shared_data: Path, tmp_path: Path
) -> None:
    place = shared_data / "cifar10"
    made = convsnn.convert(
        "zoo:resnet20-cifar10", f"npz:{place}/train4000.npz,{place}/test1000.npz",
        weights=place / "resnet20-12fca82f.th", timesteps=8,
        calibrate="channel:q=99.9,potential=0.5", calibration_samples=20,
    )  # fmt: skip
    net = made.network
    assert agreement(net, shown(net, 3), torch.float64, steps=8).min() == 1
