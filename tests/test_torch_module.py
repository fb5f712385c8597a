"""Torch modules as graphs: outputs equal the module's, sites equal its activations, names stay.

The activations are counted independently, by the calls a dispatch mode sees while the module runs.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from convsnn.errors import UnsupportedError
from convsnn.graph import Graph, run
from convsnn.load.torch_module import load_module
from convsnn.passes import EXACT, apply_exact, relative_gap
from convsnn.spiking.kinds import refused_roles

CLIPPING = ("relu", "hardtanh", "clamp_min", "clamp")
ACTIVATIONS = {*CLIPPING, *(f"{name}_" for name in CLIPPING)}


class Counter(TorchDispatchMode):
    """Counts the calls of clipping functions while it is active."""

    count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.count += func._opname in ACTIVATIONS
        return func(*args, **(kwargs or {}))


def loaded(module: nn.Module, *shape: int, batch: int = 2) -> Graph:
    """The module as a graph, checked against it on two batch sizes and its activations counted."""
    torch.manual_seed(1)
    graph = load_module(module, torch.randn(batch, *shape))
    module.eval()
    for size in (1, 3):
        x = torch.randn(size, *shape)
        with torch.no_grad(), Counter() as counter:
            wanted = module(x)
        got = run(graph, x)
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        for name, value in zip(graph.outputs, wanted, strict=True):
            assert got[name].shape == value.shape
            assert relative_gap(got[name], value) < 1e-4
        assert len(graph.sites) == counter.count
    return graph


class Doing(nn.Module):
    """A convolution, a function on its output, and a fully connected layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.function = nn.Conv2d(3, 4, 3), function
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.function(self.conv(x)).mean((2, 3)))


RELUS: dict[str, tuple[Callable[[Tensor], Tensor], float | None]] = {
    "module": (nn.ReLU(), None),
    "in-place module": (nn.ReLU(inplace=True), None),
    "F.relu": (F.relu, None),
    "F.relu in place": (lambda x: F.relu(x, inplace=True), None),
    "torch.relu": (torch.relu, None),
    "torch.relu_": (torch.relu_, None),
    "method": (lambda x: x.relu(), None),
    "in-place method": (lambda x: x.relu_(), None),
    "clamp": (lambda x: x.clamp(min=0), None),
    "in-place clamp": (lambda x: x.clamp_(min=0), None),
    "torch.clamp": (lambda x: torch.clamp(x, 0.0), None),
    "clip": (lambda x: x.clip(0), None),
    "clamp_min": (lambda x: x.clamp_min(0), None),
    "threshold": (nn.Threshold(0, 0), None),
    "ReLU6": (nn.ReLU6(), 6.0),
    "in-place ReLU6": (nn.ReLU6(inplace=True), 6.0),
    "F.relu6": (F.relu6, 6.0),
    "hardtanh": (nn.Hardtanh(0, 0.5), 0.5),
    "clamp to a range": (lambda x: x.clamp(0, 0.25), 0.25),
}


@pytest.mark.parametrize("spelling", RELUS)
def test_every_spelling_of_relu_is_one_site(spelling: str) -> None:
    function, ceiling = RELUS[spelling]
    module = Doing(function)
    graph = load_module(module, torch.randn(2, 3, 6, 6))
    x = torch.randn(3, 3, 6, 6)
    with torch.no_grad():
        assert relative_gap(run(graph, x)[graph.outputs[0]], module(x)) < 1e-5
    (site,) = graph.sites.values()
    assert site.ceiling == ceiling
    assert site.kind == ("relu" if ceiling is None else "clip")
    assert not graph.blockers()


@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (0.1, None), (None, 1.0)])
def test_a_clamp_that_is_no_relu_is_refused(bounds: tuple[float | None, float | None]) -> None:
    graph = load_module(Doing(lambda x: x.clamp(*bounds)), torch.randn(2, 3, 6, 6))
    assert not graph.sites
    (blocker,) = graph.blockers(refused_roles("binary"))
    assert blocker.remedy


class Shared(nn.Module):
    """One ReLU module at three places, in place once, and a layer used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.first(x))
        y = self.act(self.again(x))
        return self.act(self.again(y) + x).flatten(1)


def test_reused_modules_are_a_site_at_every_place() -> None:
    graph = loaded(Shared(), 3, 6, 6)
    assert list(graph.sites) == ["act", "act_1", "act_2"]
    twice = [n for n in graph.nodes if n.op == "conv"][1:]
    assert twice[0].inputs[1:] == twice[1].inputs[1:]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


def test_nodes_are_named_after_the_users_own_layers() -> None:
    module = nn.Sequential()
    module.add_module("stem", nn.Conv2d(3, 4, 3))
    module.add_module("blocks", nn.Sequential(Block(), Block()))
    graph = loaded(module, 3, 6, 6)
    names = [node.name for node in graph.nodes]
    assert names[1:] == [
        "stem",
        "blocks.0.body.0", "blocks.0.body.1", "blocks.0.body.2", "blocks.0.add", "blocks.0.relu",
        "blocks.1.body.0", "blocks.1.body.1", "blocks.1.body.2", "blocks.1.add", "blocks.1.relu",
    ]  # fmt: skip
    assert graph.by_name["blocks.0.add"].source.startswith("test_torch_module.py:")


class Mover(nn.Module):
    """Everything that only moves, joins or scales values."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1, output_padding=1, groups=2)
        self.register_buffer("offset", torch.randn(4, 1, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = x.chunk(2, 1)
        x = torch.cat([a * 2 - 1, 1 - b, (a - b) / 3, -a], 1)
        x = F.relu(F.pixel_shuffle(x, 2) + self.offset[:2])
        x = torch.cat([x, F.max_pool2d(x, 3, 1, 1)], 1)
        x = self.up(F.avg_pool2d(x, 2, ceil_mode=True)) + self.offset
        x = F.interpolate(F.relu(x)[:, :, 1:-1, ::2], scale_factor=2.0)
        x = F.pad(x.transpose(2, 3), (1, 0, 2, 1))
        pooled = F.adaptive_avg_pool2d(F.adaptive_max_pool2d(x, 1), 1).squeeze(-1).squeeze(-1)
        return x.permute(0, 2, 3, 1).contiguous(), pooled.view(x.size(0), -1)


def test_whatever_moves_values_is_read() -> None:
    graph = loaded(Mover(), 4, 6, 6)
    assert not graph.blockers()
    assert len(graph.outputs) == 2


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x.flatten(2).transpose(1, 2)).chunk(3, -1)
        weights = torch.softmax(q @ k.transpose(1, 2), -1)
        return (weights @ v).mean(1)


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))


class Analog(nn.Module):
    """A little of everything that would stay analog."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.act = nn.Conv2d(3, 8, 3), nn.GELU()
        self.se, self.tail = SqueezeExcite(), nn.Hardswish()
        self.attention, self.norm = Attention(), nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.attention(self.tail(self.se(self.act(self.stem(x))))))


def test_everything_that_stays_analog_is_named_at_once() -> None:
    graph = load_module(Analog(), torch.randn(2, 3, 6, 6))
    with pytest.raises(UnsupportedError) as caught:
        graph.require_convertible(refused_roles("binary"))
    layers = {item.layer for item in caught.value.items}
    assert {"act", "tail", "norm"} <= layers
    assert any(layer.startswith("se") for layer in layers)
    assert any(layer.startswith("attention") for layer in layers)
    assert all(item.reason for item in caught.value.items)
    assert all(item.layer in str(caught.value) or item.op in str(caught.value)
               for item in caught.value.items)  # fmt: skip


@pytest.mark.parametrize("training", [True, False])
def test_the_module_is_given_back_as_it_was(training: bool) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout())
    module.train(training)
    module[1].eval()  # a frozen batch norm stays frozen
    before = {k: v.clone() for k, v in module.state_dict().items()}
    flags = [m.training for m in module.modules()]
    graph = load_module(module, torch.randn(2, 3, 6, 6))
    assert [m.training for m in module.modules()] == flags
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert not any(t.requires_grad for t in graph.tensors.values())


def test_the_graph_keeps_its_values_when_the_module_trains_on() -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    graph = load_module(module, torch.randn(2, 4))
    x = torch.randn(5, 4)
    before = run(graph, x)[graph.outputs[0]]
    with torch.no_grad():
        module[0].weight.add_(1.0)
    assert torch.equal(run(graph, x)[graph.outputs[0]], before)


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.relu() if float(x.sum()) > 0 else x


class BatchMean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x - x.mean(0, keepdim=True))


@pytest.mark.parametrize("module", [Branching(), BatchMean(), nn.Conv2d(5, 2, 3)])
def test_what_cannot_be_read_is_refused_by_one_of_our_errors(module: nn.Module) -> None:
    with pytest.raises(UnsupportedError):
        load_module(module, torch.randn(2, 3, 6, 6)).require_convertible()


def test_an_example_of_one_image_leaves_the_batch_free() -> None:
    graph = load_module(
        nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.ReLU()), torch.randn(1, 3, 4)
    )
    assert run(graph, torch.randn(5, 3, 4))[graph.outputs[0]].shape == (5, 3)


def folded(graph: Graph, *shape: int) -> dict[str, int]:
    """How often each op is left after the exact passes."""
    final = apply_exact(graph, torch.randn(2, *shape), EXACT)
    ops = [node.op for node in final.nodes]
    assert list(final.sites) == list(graph.sites)
    return {op: ops.count(op) for op in ops}


def test_resnet18_loads_and_folds() -> None:
    models = pytest.importorskip("torchvision").models
    graph = loaded(models.resnet18(weights=None).eval(), 3, 32, 32)
    assert len(graph.sites) == 17
    assert "layer1.0.conv1" in graph.by_name
    left = folded(graph, 3, 32, 32)
    assert "batch_norm" not in left
    assert left["conv"] == 20
    assert left["add"] == 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sites", "norms"),
    [
        ("mobilenet_v2", 35, 0), ("vgg11_bn", 10, 0), ("googlenet", 57, 0),
        ("shufflenet_v2_x0_5", 37, 0), ("squeezenet1_1", 26, 0), ("regnet_x_400mf", 67, 0),
        ("densenet121", 121, 62), ("mnasnet0_5", 35, 0),
    ],
)  # fmt: skip
def test_published_networks_load_and_fold(name: str, sites: int, norms: int) -> None:
    """A batch norm of densenet's has a concatenation before it and a ReLU behind: it stays."""
    models = pytest.importorskip("torchvision").models
    options = {"init_weights": False} if name == "googlenet" else {}
    module = models.get_model(name, weights=None, **options).eval()
    graph = loaded(module, 3, 64, 64)
    assert len(graph.sites) == sites
    assert folded(graph, 3, 64, 64).get("batch_norm", 0) == norms
