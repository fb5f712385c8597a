"""Every layer a ReLU network may hold enters, from a module and from an ONNX file, and converts.

The original is the judge: same outputs on random input, as many neuron sites as activations called.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import convsnn
from calibrate import parse_stages
from convsnn.graph import Graph, run
from convsnn.load import load_module, load_onnx
from convsnn.workflows.convert.network import convert


class Net(nn.Module):
    """Neurons, what is tried behind them, and neurons again."""

    def __init__(self, function: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        out = self.function(F.relu(x), **self.layers)
        return tuple(F.relu(o) for o in out) if isinstance(out, tuple) else F.relu(out)


class Relus(TorchFunctionMode):
    """Counts the calls of ReLU while it is active."""

    calls = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.calls += func in (F.relu, torch.relu)
        return func(*args, **(kwargs or {}))


def through(layer: nn.Module) -> Net:
    return Net(lambda x, layer: layer(x), layer=layer)


IMAGE, ROW, VOLUME, VECTOR = (4, 8, 6), (4, 9), (4, 5, 4, 6), (6,)
W = torch.randn(5, 6)

CASES: dict[str, tuple[Net, tuple[int, ...]]] = {
    "conv1d": (through(nn.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2)), ROW),
    "conv2d grouped": (through(nn.Conv2d(4, 8, 3, groups=2, padding=1)), IMAGE),
    "conv2d depthwise": (through(nn.Conv2d(4, 4, 3, groups=4, bias=False)), IMAGE),
    "conv2d same": (through(nn.Conv2d(4, 4, (2, 5), padding="same", dilation=(1, 2))), IMAGE),
    "conv2d valid": (through(nn.Conv2d(4, 4, 3, padding="valid")), IMAGE),
    "conv2d reflect": (through(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")), IMAGE),
    "conv3d": (through(nn.Conv3d(4, 3, (1, 3, 2), stride=(1, 2, 1), padding=(0, 1, 0))), VOLUME),
    "transposed 1d": (through(nn.ConvTranspose1d(4, 3, 3, stride=2, output_padding=1)), ROW),
    "transposed 2d": (through(nn.ConvTranspose2d(4, 6, 3, 2, 1, groups=2)), IMAGE),
    "transposed 3d": (through(nn.ConvTranspose3d(4, 2, 2, stride=2)), VOLUME),
    "linear": (through(nn.Linear(6, 5)), VECTOR),
    "linear on tokens": (through(nn.Linear(9, 5)), ROW),
    "matmul": (Net(lambda x: x @ W.T), VECTOR),
    "batched matmul": (Net(lambda x: x @ W.T.expand(4, 6, 5)), IMAGE),
    "batch norm 1d": (through(nn.BatchNorm1d(6)), VECTOR),
    "batch norm first": (through(nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3))), IMAGE),
    "batch norm 3d": (through(nn.Sequential(nn.Conv3d(4, 3, 1), nn.BatchNorm3d(3))), VOLUME),
    "batch norm behind transposed": (
        through(nn.Sequential(nn.ConvTranspose2d(4, 3, 2), nn.BatchNorm2d(3))),
        IMAGE,
    ),
    "batch norm behind linear": (
        through(nn.Sequential(nn.Linear(6, 5, bias=False), nn.BatchNorm1d(5))),
        VECTOR,
    ),
    "max pool 1d": (through(nn.MaxPool1d(3, 2, 1)), ROW),
    "max pool 2d ceil": (through(nn.MaxPool2d(3, 2, ceil_mode=True)), IMAGE),
    "max pool 2d dilated": (through(nn.MaxPool2d(2, 1, dilation=2)), IMAGE),
    "max pool 3d": (through(nn.MaxPool3d(2)), VOLUME),
    "average pool 1d": (through(nn.AvgPool1d(3, 2, 1, count_include_pad=False)), ROW),
    "average pool 2d ceil": (through(nn.AvgPool2d(3, 2, 1, ceil_mode=True)), IMAGE),
    "average pool 3d": (through(nn.AvgPool3d(2, count_include_pad=False)), VOLUME),
    "adaptive average": (through(nn.AdaptiveAvgPool2d((4, 3))), IMAGE),
    "adaptive maximum": (through(nn.AdaptiveMaxPool2d((2, 3))), IMAGE),
    "global average": (Net(lambda x: x.mean((2, 3))), IMAGE),
    "global maximum": (Net(lambda x: x.amax((2, 3))), IMAGE),
    "add": (Net(lambda x, c, d: c(x) + d(x) + x, c=nn.Conv2d(4, 4, 1), d=nn.Identity()), IMAGE),
    "neurons into one add": (Net(lambda x, c: F.relu(c(x)) + x, c=nn.Conv2d(4, 4, 1)), IMAGE),
    "subtract": (Net(lambda x, c: x - c(x), c=nn.Conv2d(4, 4, 1)), IMAGE),
    "scale": (Net(lambda x: (x * 3 - 1) / 2 - x * torch.arange(6.0)), IMAGE),
    "concatenation": (Net(lambda x, c: torch.cat([x, c(x)], 1), c=nn.Conv2d(4, 2, 1)), IMAGE),
    "split": (Net(lambda x: torch.split(x, [1, 3], 1)[1]), IMAGE),
    "chunk": (Net(lambda x: x.chunk(2, 1)[0] + x.chunk(2, 1)[1]), IMAGE),
    "slice": (Net(lambda x: x[:, 1:, ::2, -3:]), IMAGE),
    "channel shuffle": (through(nn.ChannelShuffle(2)), IMAGE),
    "pixel shuffle": (through(nn.PixelShuffle(2)), IMAGE),
    "pixel unshuffle": (through(nn.PixelUnshuffle(2)), IMAGE),
    "nearest": (through(nn.Upsample(scale_factor=2, mode="nearest")), IMAGE),
    "bilinear": (through(nn.Upsample(size=(9, 7), mode="bilinear")), IMAGE),
    "bicubic": (through(nn.Upsample(scale_factor=2, mode="bicubic")), IMAGE),
    "flatten": (through(nn.Sequential(nn.Flatten(), nn.Linear(4 * 48, 3))), IMAGE),
    "reshape": (Net(lambda x: x.reshape(-1, 2, 16, 6).permute(0, 3, 1, 2)), IMAGE),
    "squeeze": (Net(lambda x: x.unsqueeze(2).squeeze(2).transpose(1, 3)), IMAGE),
    "dropout": (through(nn.Sequential(nn.Dropout(0.5), nn.Identity(), nn.Dropout2d())), IMAGE),
    "one layer twice": (Net(lambda x, c: c(F.relu(c(x))), c=nn.Conv2d(4, 4, 1)), IMAGE),
    "several outputs": (Net(lambda x, c: (c(x), x.mean((2, 3))), c=nn.Conv2d(4, 2, 1)), IMAGE),
}


def made(case: str) -> tuple[Net, Tensor]:
    """The network of a case in eval mode, with norms that do something, and an input."""
    torch.manual_seed(0)
    net, shape = CASES[case]
    x = torch.randn(3, *shape)
    for name, buffer in net.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return net.eval(), x


def judged(graph: Graph, net: Net, x: Tensor) -> None:
    assert graph.blockers() == ()
    with Relus() as relus, torch.no_grad():
        wanted = net(x)
    assert len(graph.sites) == relus.calls
    values = run(graph, x)
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    for name, value in zip(graph.outputs, wanted, strict=True):
        torch.testing.assert_close(values[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_layer_enters_from_a_module_and_converts(case: str) -> None:
    net, x = made(case)
    graph = load_module(net, x)
    judged(graph, net, x)
    spiking = convert(graph, x, [x], parse_stages("max:potential=0.5"), steps=64)
    outputs = convsnn.simulate(spiking, x, steps=64).outputs
    exact = run(graph, x)
    for name, value in zip(graph.outputs, outputs, strict=True):
        gap = (value[-1] - exact[name]).norm() / exact[name].norm()
        assert gap < 0.1


@pytest.mark.filterwarnings("ignore")  # the exporter's own
@pytest.mark.parametrize("case", CASES)
def test_layer_enters_from_an_onnx_file(case: str, tmp_path: Path) -> None:
    net, x = made(case)
    path = tmp_path / "m.onnx"
    try:
        torch.onnx.export(net, (x,), path, dynamo=False, opset_version=17)
    except torch.onnx.errors.OnnxExporterError as error:
        pytest.skip(f"torch's exporter cannot write it: {error}")
    judged(load_onnx(path), net, x)
