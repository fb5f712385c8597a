"""The networks of LTMD and LT-SNN: counted by hand, entered exactly, converted as they are."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import convsnn
from calibrate import parse_stages
from convsnn.graph import run
from convsnn.load.verify import module_reference, verify_import
from convsnn.passes import EXACT, apply_exact
from convsnn.workflows.convert.network import convert
from zoo.data import Preprocessing
from zoo.models import MODELS, base, describe
from zoo.models.lt_snn import ResNet19Block
from zoo.models.ltmd import DenseLayer, Lateral

ROWS = {row["name"]: row for row in describe()}
NAMES = [name for name in ROWS if name.startswith(("ltmd-", "lt-snn-"))]
SMALL = ["ltmd-mnist", "ltmd-fc8-cifar10"]
TWIN = "ltmd-densenet-nmnist"  # the network of DVS-CIFAR10, for smaller images
# One of each kind; the others are larger or differ in widths only.
KINDS = [
    *SMALL,
    "lt-snn-vgg7-dvscifar10",
    "lt-snn-mobilenet-dvscifar10",
    "lt-snn-resnet19-cifar10",
]


def conv(a: int, b: int, *, kernel: int = 3, bias: bool = True) -> int:
    """Parameters of a convolution and its batch norm."""
    return a * b * kernel**2 + bias * b + 2 * b


def dense(blocks: tuple[int, ...], *, channels: int, stem: int) -> int:
    width = stem
    size = conv(channels, stem, bias=False) + stem * stem * 9
    for i, depth in enumerate(blocks):
        if i:
            size += 2 * width + width * (width // 2)
            width //= 2
        for _ in range(depth):
            size += 2 * width + width * 128 + 2 * 128 + 128 * 32 * 9
            width += 32
    return size + 2 * width + (width * 256 + 256 + 5) + (256 * 10 + 10 + 5)


def vgg(*widths: int, channels: int) -> int:
    return sum(conv(a, b) for a, b in zip((channels, *widths), widths, strict=False))


def head(inputs: int, width: int) -> int:
    return inputs * width + width + width * 10 + 10


def resnet19() -> int:
    size, before = conv(3, 64, bias=False), 64
    for width, blocks in ((128, 3), (256, 3), (512, 2)):
        size += conv(before, width, kernel=1, bias=False)
        size += conv(before, width, bias=False)
        size += (2 * blocks - 1) * conv(width, width, bias=False)
        before = width
    return size + head(512, 256)


def mobilenet() -> int:
    size = conv(2, 32)
    for a, b in ((32, 64), (64, 64), (64, 128), (128, 128), (128, 256)):
        size += conv(1, a) + conv(a, b, kernel=1)
    return size + head(256 * 36, 256)


def detector(*layers: tuple[int, int], cells: int, hidden: int, outputs: int) -> int:
    """Of convolutions (width, kernel) for two channels, and two linear layers behind."""
    size, before = 0, 2
    for width, kernel in layers:
        size += conv(before, width, kernel=kernel)
        before = width
    return size + (before * cells + 1) * hidden + (hidden + 1) * outputs


EIGHT = (64, 128, 256, 256, 512, 512, 512, 512)
THIRTEEN = (64, 64, 128, 128, 256, 256, 256, *[512] * 6)
# Parameters and learnable thresholds.
COUNTS = {
    "ltmd-densenet-cifar10": (dense((12, 12, 24), channels=3, stem=256), 102),
    "ltmd-densenet-dvscifar10": (dense((6, 12, 24, 16), channels=2, stem=64), 123),
    "ltmd-densenet-nmnist": (dense((6, 12, 24, 16), channels=2, stem=64), 123),
    "ltmd-mnist": (
        sum(conv(a, b, bias=False) for a, b in ((1, 32), (32, 64), (64, 128)))
        + head(1152, 128) + 10, 5,
    ),
    "ltmd-fc8-cifar10": (
        3072 * 512 + 6 * 512 * 512 + 7 * 3 * 512 + 512 * 10 + 10 + 8 * 5, 8,
    ),
    "lt-snn-vgg7-dvscifar10": (
        vgg(32, 32, 64, 64, 128, 128, 256, 256, channels=2) + head(2304, 256), 8,
    ),
    "lt-snn-vgg7-repo-dvscifar10": (
        vgg(32, 64, 64, 128, 128, 256, 256, channels=3) + head(2304, 256), 7,
    ),
    "lt-snn-vgg9-dvscifar10": (
        vgg(32, 64, 64, 128, 128, 256, 256, 512, 512, channels=2) + head(4608, 512), 9,
    ),
    "lt-snn-vgg11-dvscifar10": (vgg(*EIGHT, channels=2) + 512 * 10 + 10, 8),
    "lt-snn-mobilenet-dvscifar10": (mobilenet(), 11),
    "lt-snn-resnet19-cifar10": (resnet19(), 18),
    "lt-snn-yolo-gen1": (
        detector(
            (32, 3), (64, 3), (128, 3), (64, 1), (128, 3), (256, 3), (128, 1), (256, 3),
            (512, 3), (256, 1), (512, 3), (256, 1), (1024, 3), (512, 1), (1024, 3),
            cells=3 * 4, hidden=512, outputs=6 * 8 * 12,
        ), 15,
    ),
    "lt-snn-yolo-short": (
        detector((8, 3), (16, 3), (32, 3), cells=4 * 4, hidden=128, outputs=4 * 4 * 12), 3,
    ),
    "lt-snn-vgg16-cifar10": (vgg(*THIRTEEN, channels=3) + head(512, 256), 14),
}  # fmt: skip


def trained(name: str) -> tuple[nn.Module, Tensor]:
    """The network with its batch statistics taken from four coarse images, which come with it."""
    torch.manual_seed(0)
    entry = MODELS.create(name)
    module, (channels, *size) = entry.build(), entry.input_shape
    x = F.interpolate(torch.rand(4, channels, 3, 3), size, mode="bilinear")
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.momentum = None  # the statistics of all batches seen
    with torch.no_grad():
        module.train()(x)
    return module.eval(), x


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_thresholds_are_as_many_as_counted_by_hand(name: str) -> None:
    assert (ROWS[name]["parameters"], ROWS[name]["thresholds"]) == COUNTS[name]


def test_published_sizes() -> None:
    counts = {name: parameters for name, (parameters, _) in COUNTS.items()}
    assert counts["ltmd-densenet-cifar10"] == 6_820_180  # 6.82 million; + 102 are 0.0015 %
    assert counts["lt-snn-vgg9-dvscifar10"] == 7_071_530  # 7.07 million
    assert counts["lt-snn-vgg7-dvscifar10"] == 1_766_538
    assert counts["lt-snn-vgg7-repo-dvscifar10"] == 1_757_514
    assert counts["lt-snn-resnet19-cifar10"] == 12_630_858  # 12.63 million in work on TET
    assert counts["lt-snn-mobilenet-dvscifar10"] == 2_433_194
    assert counts["lt-snn-vgg11-dvscifar10"] == 9_230_538


def test_thresholds_a_network_holds_and_those_of_its_training_add_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(MODELS, "_entries", {})

    def build() -> nn.Module:
        module = nn.Linear(3, 2)
        module.register_parameter("threshold", nn.Parameter(torch.ones(5)))
        return module

    plain = Preprocessing()
    base.model("a", "", input_shape=(3,), classes=2, preprocessing=plain, thresholds=7)(build)
    (row,) = describe()
    assert (row["parameters"], row["thresholds"]) == (8, 12)


def check_import(name: str) -> None:
    module, x = trained(name)
    graph = convsnn.load_module(module, x)
    graph.require_convertible()
    reference = module_reference(module)
    verify_import(graph, reference, x)
    exact = apply_exact(graph, x, EXACT)
    (expected,) = reference(x)
    torch.testing.assert_close(run(exact, x)[exact.outputs[0]], expected, rtol=1e-3, atol=1e-4)
    # The neurons of LTMD's last layer are the readout.
    unseen = 1 if name.startswith("ltmd-") else 0
    assert len(graph.sites) == len(exact.sites) == ROWS[name]["thresholds"] - unseen
    assert all(site.kind == "relu" for site in exact.sites.values())


@pytest.mark.parametrize("name", KINDS)
def test_the_graph_is_the_module_with_a_site_for_each_layer_of_neurons(name: str) -> None:
    check_import(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in (*KINDS, TWIN)])
def test_a_large_graph_is_the_module_with_a_site_for_each_layer_of_neurons(name: str) -> None:
    check_import(name)


def converted(name: str, *, steps: int) -> tuple[Tensor, Tensor]:
    """Answers to two images at every step, and those of the network itself."""
    module, x = trained(name)
    net = convert(module, x, [x], parse_stages("max:potential=0.5"), steps=steps)
    with torch.inference_mode():
        expected = module(x[:2])
    return convsnn.simulate(net, x[:2], steps=steps).outputs[0], expected


@pytest.mark.parametrize("name", SMALL)
def test_answers_of_small_converted_networks_come_closer_step_by_step(name: str) -> None:
    outputs, expected = converted(name, steps=64)
    gaps = (outputs - expected).flatten(1).norm(dim=1) / expected.norm()
    # What is missing is a number of spikes, so twice the steps make about half of it.
    assert gaps[63] < 0.5
    assert gaps[63] < 0.65 * gaps[31]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in (*SMALL, TWIN)])
def test_large_networks_convert_and_run(name: str) -> None:
    outputs, expected = converted(name, steps=2)
    assert outputs.shape == (2, *expected.shape)
    assert outputs.isfinite().all()


def test_lateral_weights_add_what_the_neighbours_get() -> None:
    layer = Lateral()
    with torch.no_grad():
        layer.kernel.weight.copy_(torch.tensor([[[0.1, 0.2, 0.3, 0.2, 0.1]]]))
        x = torch.tensor([[1.0, 0.0, 2.0, 0.0, 1.0]])
        added = layer(x) - x
    torch.testing.assert_close(added, torch.tensor([[0.5, 0.6, 0.8, 0.6, 0.5]]))


@settings(max_examples=20)
@given(channels=st.integers(1, 6), growth=st.integers(1, 4), seed=st.integers(0, 99))
def test_a_dense_layer_keeps_what_it_was_given(channels: int, growth: int, seed: int) -> None:
    torch.manual_seed(seed)
    x = torch.randn(2, channels, 4, 4)
    y = DenseLayer(channels, growth)(x)
    assert y.shape == (2, channels + growth, 4, 4)
    assert torch.equal(y[:, :channels], x)
    assert y[:, channels:].any()


@pytest.mark.parametrize("stride", [1, 2])
def test_a_sum_of_two_normalised_branches_has_the_spread_of_one(stride: int) -> None:
    torch.manual_seed(0)
    block = ResNet19Block(8, 16, stride=stride)
    x = torch.randn(8, 8, 16, 16)
    with torch.no_grad():
        total = block.conv2(F.relu(block.conv1(x))) + block.shortcut(x)
    # Two independent normalised branches would have sqrt(2).
    assert float(total.std()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("name", ["lt-snn-vgg7-dvscifar10", "lt-snn-mobilenet-dvscifar10"])
def test_no_neuron_stands_between_the_two_last_layers(name: str) -> None:
    last = MODELS.create(name).module(weights=False).double().head
    x = torch.randn(3, last[0].in_features, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(last(-x) + last(x), 2 * last(torch.zeros_like(x)))


@pytest.mark.parametrize("name", NAMES)
def test_convolutions_start_as_stated_and_fully_connected_ones_of_ltmd_without_bias(
    name: str,
) -> None:
    torch.manual_seed(0)
    side = 1 if name.startswith("ltmd-") else 0  # counted: inputs for LTMD, outputs for LT-SNN
    for layer in MODELS.create(name).build().modules():
        if isinstance(layer, nn.Conv2d) and layer.weight.numel() > 5000:
            fan = layer.weight.shape[side] * layer.weight[0, 0].numel()
            assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / fan), rel=0.06)
        if isinstance(layer, nn.Linear) and name.startswith("ltmd-"):
            assert not layer.bias.any()
        if isinstance(layer, nn.BatchNorm2d):
            assert not layer.bias.any()
