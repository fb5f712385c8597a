"""NeuroBench's metrics: against its own harness where that is installed, and its definitions."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convsnn.graph import Graph, Node
from convsnn.measure import evaluate
from convsnn.measure.energy.neurobench import neurobench
from convsnn.spiking.network import Spiking, to_spiking
from convsnn.spiking.plan import Plan, SitePlan

STEPS, IMAGES = 6, 5
THRESHOLD = 1 + 1 / 256  # never met exactly in so few steps: currents are sixteenths
CONV = {"stride": [1, 1], "padding": [1] * 4, "dilation": [1, 1], "groups": 1}


def parts() -> dict[str, Tensor]:
    """Two convolutions and a fully connected layer, without a weight of zero."""
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        signs = torch.randint(0, 2, shape, generator=generator) * 2 - 1
        return torch.randint(1, 4, shape, generator=generator) / 4 * signs

    return {
        "w1": draw(3, 2, 3, 3), "b1": draw(3),
        "w2": draw(2, 3, 3, 3), "b2": draw(2),
        "w3": draw(4, 32), "b3": draw(4),
    }  # fmt: skip


def network(tensors: dict[str, Tensor]) -> Spiking:
    nodes = (
        Node("input", "input", (), {"shape": [2, 4, 4]}),
        Node("conv1", "conv", ("input", "w1", "b1"), CONV),
        Node("relu1", "relu", ("conv1",)),
        Node("conv2", "conv", ("relu1", "w2", "b2"), CONV),
        Node("relu2", "relu", ("conv2",)),
        Node("flat", "reshape", ("relu2",), {"shape": [32]}),
        Node("fc", "linear", ("flat", "w3", "b3")),
    )
    graph = Graph(nodes, tensors, ("fc",))
    threshold = torch.tensor(THRESHOLD)
    site = SitePlan(threshold, torch.zeros(()))
    return to_spiking(graph, Plan({"relu1": site, "relu2": site}))


def shown() -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randint(0, 4, (IMAGES, 2, 4, 4), generator=generator) * 5 / 4  # some are zero


def ours(tensors: dict[str, Tensor]) -> dict[str, Any]:
    net = network(tensors)
    got = evaluate(net, [(shown(), None)], steps=STEPS)
    assert got.seen is not None
    return neurobench(net, got.activity, got.seen.connections, weight_bits=32)


def by_definition(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """The published definitions, step by step in plain torch."""
    x = shown()
    layers = [("w1", "b1"), ("w2", "b2"), ("w3", "b3")]
    potentials = [torch.zeros(IMAGES, 3, 4, 4), torch.zeros(IMAGES, 2, 4, 4)]
    macs = acs = dense = updates = 0.0
    silent = fired = 0
    for _ in range(STEPS):
        value = x
        for place, (w, b) in enumerate(layers):
            weight = tensors[w]

            def layer(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
                if weight.dim() == 2:
                    return nn.functional.linear(x.flatten(1), weight, bias)
                return nn.functional.conv2d(x, weight, bias, padding=1)

            used = (weight != 0).float()
            count = float(layer((value != 0).float(), used, None).sum())
            if bool(((value == 0) | (value == 1)).all()):
                acs += count
            else:
                macs += count
            dense += float(layer(torch.ones_like(value), torch.ones_like(weight), None).sum())
            current = layer(value * (THRESHOLD if place else 1), weight, tensors[b])
            if place == 2:
                break
            before = potentials[place]
            charged = before + current
            value = (charged >= THRESHOLD).float()
            potentials[place] = charged - THRESHOLD * value
            updates += float((current.abs() > 0).sum())  # it changed in this step
            fired += int(value.sum())
            silent += int((value == 0).sum())
    return {
        "macs": macs / IMAGES,
        "acs": acs / IMAGES,
        "dense": dense / IMAGES,
        "sparsity": silent / (silent + fired),
        "updates": updates / IMAGES,
    }


def test_by_the_published_definitions() -> None:
    tensors = parts()
    got, wanted = ours(tensors), by_definition(tensors)
    operations = got["SynapticOperations"]
    assert operations["Effective_MACs"] == wanted["macs"]
    assert operations["Effective_ACs"] == wanted["acs"]
    assert operations["Dense"] == wanted["dense"]
    assert got["ActivationSparsity"] == pytest.approx(wanted["sparsity"])
    assert got["MembraneUpdates"] == pytest.approx(wanted["updates"], rel=0.05)  # an upper bound
    assert got["MembraneUpdates"] >= wanted["updates"]
    assert got["ConnectionSparsity"] == 0
    numbers = sum(t.numel() for t in tensors.values())
    assert got["Footprint"] == 4 * (numbers + 4)  # two thresholds, two initial potentials


def test_weights_of_zero_are_no_connections() -> None:
    tensors = parts()
    tensors["w3"][:, ::2] = 0  # half of the fully connected layer
    got, whole = ours(tensors), ours(parts())
    share = 64 / (54 + 54 + 128)
    assert got["ConnectionSparsity"] == round(share, 4)
    assert got["SynapticOperations"]["Effective_ACs"] < whole["SynapticOperations"]["Effective_ACs"]
    assert got["SynapticOperations"]["Dense"] == whole["SynapticOperations"]["Dense"]


def test_by_neurobench_itself() -> None:
    reason = "neurobench is not installed (pip install 'convsnn[bench]')"
    pytest.importorskip("neurobench", reason=reason)
    snntorch = pytest.importorskip("snntorch", reason=reason)
    from neurobench.benchmarks import Benchmark
    from neurobench.metrics.static import ConnectionSparsity, Footprint
    from neurobench.metrics.workload import (
        ActivationSparsity,
        MembraneUpdates,
        SynapticOperations,
    )
    from neurobench.models import SNNTorchModel
    from torch.utils.data import DataLoader, TensorDataset

    tensors = parts()

    class Fire(snntorch.Leaky):  # its own lets a neuron above threshold wait for the next step
        def __init__(self) -> None:
            super().__init__(beta=1.0, threshold=THRESHOLD, init_hidden=True)

        def forward(self, x: Tensor) -> Tensor:
            charged = x if self.mem.shape != x.shape else self.mem + x
            spikes = (charged >= THRESHOLD).float()
            self.mem = charged - THRESHOLD * spikes
            return spikes

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 2, 3, padding=1)
            self.fc = nn.Linear(32, 4)
            self.if1, self.if2 = Fire(), Fire()
            for layer, number, scale in ((self.conv1, 1, 1.0), (self.conv2, 2, THRESHOLD),
                                         (self.fc, 3, THRESHOLD)):  # fmt: skip
                layer.weight.data = tensors[f"w{number}"] * scale
                layer.bias.data = tensors[f"b{number}"].clone()

        def forward(self, x: Tensor) -> tuple[Tensor, None]:
            x = self.if2(self.conv2(self.if1(self.conv1(x))))
            return self.fc(x.flatten(1)), None

    net = Net()
    parameters = sum(4 * p.numel() for p in net.parameters())
    data = TensorDataset(shown()[:, None].expand(-1, STEPS, -1, -1, -1), torch.zeros(IMAGES))
    metrics = [[Footprint, ConnectionSparsity],
               [ActivationSparsity, SynapticOperations, MembraneUpdates]]  # fmt: skip
    loader = DataLoader(data, batch_size=IMAGES)
    with torch.no_grad():
        theirs = Benchmark(SNNTorchModel(net), loader, [], [], metrics).run(quiet=True)
    got = ours(tensors)
    assert theirs["SynapticOperations"] == got["SynapticOperations"]
    assert theirs["ActivationSparsity"] == pytest.approx(got["ActivationSparsity"], abs=1e-6)
    assert theirs["ConnectionSparsity"] == got["ConnectionSparsity"]
    assert theirs["MembraneUpdates"] == pytest.approx(got["MembraneUpdates"], rel=0.05)
    assert theirs["MembraneUpdates"] <= got["MembraneUpdates"]
    assert got["Footprint"] - 4 * 4 == parameters  # beside both stand the neurons' own numbers
    assert theirs["Footprint"] >= parameters
    for name in ("SynapticOperations", "ActivationSparsity", "ConnectionSparsity",
                 "MembraneUpdates", "Footprint"):  # fmt: skip
        print(f"{name}: NeuroBench {theirs[name]}, convsnn {got[name]}")
