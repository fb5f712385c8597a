"""Step by step against SpikingJelly 2.0's own rate-coded conversion, with its thresholds.

Its converter calibrates; its thresholds go into our plan; both run with the image as input of
every step, and the accumulated outputs must agree in float64 at every step. The images differ from
those calibrated on: there, the largest activation of a layer is its threshold to the last bit, and
such a tie falls by rounding.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convsnn.graph import Graph
from convsnn.load.torch_module import load_module
from convsnn.passes import EXACT, apply_exact
from convsnn.simulate import simulate
from convsnn.spiking.network import to_spiking
from convsnn.spiking.plan import Plan, SitePlan

pytest.importorskip("spikingjelly")
from spikingjelly.activation_based import ann2snn, functional

STEPS = 40


class Plain(nn.Module):
    """Convolutions, batch norm, average pooling, a fully connected layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu1 = (
            nn.Conv2d(2, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
        )
        self.pool = nn.AvgPool2d(2)
        self.conv2, self.relu2 = nn.Conv2d(6, 6, 3, groups=2), nn.ReLU()
        self.flatten, self.head = nn.Flatten(), nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu1(self.bn1(self.conv1(x))))
        return self.head(self.flatten(self.relu2(self.conv2(x))))


class Residual(nn.Module):
    """A sum of two paths before the second activation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.relu1 = nn.Conv2d(2, 4, 3, padding=1), nn.ReLU()
        self.conv1, self.relu2 = nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()
        self.conv2, self.relu3 = nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()
        self.pool, self.flatten, self.head = nn.AvgPool2d(4), nn.Flatten(), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.stem(x))
        x = self.relu3(self.conv2(self.relu2(self.conv1(x))) + x)
        return self.head(self.flatten(self.pool(x)))


class PreActivation(nn.Module):
    """The sum goes on without an activation, and is pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.relu1 = nn.Conv2d(2, 4, 3, padding=1), nn.ReLU()
        self.conv1, self.relu2 = nn.Conv2d(4, 4, 1), nn.ReLU()
        self.flatten, self.head = nn.Flatten(), nn.Linear(256, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.stem(x))
        return self.head(self.flatten(self.relu2(self.conv1(x)) + x))


def trained_looking(kind: type[nn.Module], seed: int) -> nn.Module:
    """The network in float64, its batch norms away from their initial statistics."""
    torch.manual_seed(seed)
    module = kind().double()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias)
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    return module.eval()


def peer_outputs(
    module: nn.Module, calibration: Tensor, x: Tensor, **options: Any
) -> tuple[Tensor, list[Tensor]]:
    """SpikingJelly's mean outputs up to each step (T, B, ...), and its thresholds in order."""
    recipe = ann2snn.RateCodingRecipe([calibration], **options)
    peer = ann2snn.Converter(recipe=recipe).convert(module).double()
    functional.set_step_mode(peer, "s")
    functional.reset_net(peer)
    scalers = {name: part for name, part in peer.named_modules() if name.endswith("scaler1")}
    order = [n.target for n in peer.graph.nodes if n.target in scalers]
    outputs = []
    with torch.no_grad():
        for _ in range(STEPS):
            outputs.append(peer(x))
    count = torch.arange(1, STEPS + 1).double().reshape(-1, 1, 1)
    return torch.stack(outputs).cumsum(0) / count, [scalers[name].scale for name in order]


def in_double(graph: Graph, module: nn.Module) -> Graph:
    """The graph with the module's own float64 parameters in place of the float32 ones read."""
    exact = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    double = graph.to(torch.float64)
    assert all(name in exact for name in double.tensors)
    return Graph(
        double.nodes, {name: exact[name].detach() for name in double.tensors}, double.outputs
    )


def ours(module: nn.Module, x: Tensor, thresholds: list[Tensor], *, half: bool) -> Tensor:
    graph = in_double(load_module(module, x), module)
    graph = apply_exact(graph, x, EXACT)
    sites = {}
    for (name, site), value in zip(graph.sites.items(), thresholds, strict=True):
        value = value.double()
        threshold = site.per_channel(value.flatten()) if value.numel() > 1 else value.reshape(())
        sites[name] = SitePlan(threshold, threshold * (0.5 if half else 0.0))
    return simulate(to_spiking(graph, Plan(sites)), x, steps=STEPS, chunk=7).outputs[0]


SLOW = pytest.mark.slow


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=SLOW)])
@pytest.mark.parametrize("network", [Plain, Residual, PreActivation])
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"mode": "Max"}, id="max", marks=SLOW),
        pytest.param({"mode": "99%"}, id="percentile"),
        pytest.param({"mode": 0.5}, id="half the maximum", marks=SLOW),
        pytest.param({"mode": "Max", "channel_wise": True}, id="channel", marks=SLOW),
        pytest.param(
            {"mode": "99.9%", "channel_wise": True, "half_threshold": True}, id="half potential"
        ),
    ],
)
def test_every_step_agrees(network: type[nn.Module], options: dict[str, Any], seed: int) -> None:
    module = trained_looking(network, seed)
    calibration, x = torch.randn(2, 4, 2, 8, 8, dtype=torch.float64)
    wanted, thresholds = peer_outputs(module, calibration, x, **options)
    got = ours(module, x, thresholds, half=bool(options.get("half_threshold")))
    assert float((got - wanted).abs().max()) < 1e-6
    assert float(wanted[-1].std()) > 1e-3  # the networks say something
    with torch.no_grad():
        assert float((wanted[-1] - module(x)).abs().max()) < 0.5
