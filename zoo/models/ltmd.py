"""The networks of LTMD ("Learning improvement of spiking neural networks with learnable
thresholding neurons and moderate dropout"), as plain networks with a ReLU for each layer of
neurons.

Published are the dense network for CIFAR-10 (the authors' code) and the block sizes for event data
(their table 1). Not published, hence chosen here: for event data two input and 64 first channels
and a growth of 32; for MNIST convolutions of 32, 64 and 128 channels and fully connected layers of
128 and 10; for figure 6 seven hidden layers of 512, with batch norm in both.

A fully connected layer has lateral weights, a kernel of five along its neurons that starts as
torch's own. The paper (equation 9) feeds it with what the layer sent one step before; the authors'
code feeds it with the layer's own input current at the same step, y = Wx + b + K * (Wx + b). Only
the second has a form without time and stands here. The paper's has the same parameters, so weights
fit both; its steady state r = relu(Wx + b + K * r) is no feed-forward network, and where the
current is nowhere negative the form here is the first step towards it. The neurons of the last
layer are read, not counted (their potential is the answer): no ReLU stands for them, yet their
threshold is among the learnable ones, as in the code. Dropout is the ordinary one, at the place
where training as a spiking network has the moderate one.

Convolutions start with Kaiming's normal values (gain of ReLU, inputs counted), biases of fully
connected layers at zero. The authors train for CIFAR-10 with the mean and standard deviation below.
"""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.data import Preprocessing
from zoo.models.base import model

_CIFAR10 = Preprocessing(mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.243, 0.261))
_MNIST = Preprocessing(mean=(0.1307,), std=(0.3081,))
_SPIKES = Preprocessing(scale=1.0)
_STATIC = (12, 12, 24)
_EVENTS = (6, 12, 24, 16)
_DROPOUT = 0.2


class Lateral(nn.Module):
    """What neurons of a fully connected layer get, with what their neighbours get added."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Conv1d(1, 1, 5, padding=2, bias=False)

    def forward(self, current: Tensor) -> Tensor:
        """(B, neurons) -> (B, neurons)."""
        return current + self.kernel(current.unsqueeze(1)).squeeze(1)


class Head(nn.Module):
    """Two fully connected layers with lateral weights."""

    def __init__(self, inputs: int, width: int, classes: int) -> None:
        super().__init__()
        self.fc1 = _linear(inputs, width)
        self.lateral1 = Lateral()
        self.dropout = nn.Dropout(_DROPOUT)
        self.fc2 = _linear(width, classes)
        self.lateral2 = Lateral()

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) -> (B, classes)."""
        hidden = F.relu(self.lateral1(self.fc1(x)))
        return self.lateral2(self.fc2(self.dropout(hidden)))


class DenseLayer(nn.Module):
    """1x1 then 3x3 convolution, each behind batch norm and neurons; joins its output to x."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = _convolution(channels, 4 * growth, kernel=1)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = _convolution(4 * growth, growth)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, channels + growth, H, W)."""
        inner = self.conv1(F.relu(self.bn1(x)))
        return torch.cat([x, self.conv2(F.relu(self.bn2(inner)))], 1)


class LtmdDenseNet(nn.Module):
    """Dense blocks of `blocks` layers between a stem that halves the image and the head.

    `channels` are those of the input, `stem` those before the first block.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        *,
        channels: int,
        stem: int,
        growth: int = 32,
        classes: int = 10,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            _convolution(channels, stem),
            nn.BatchNorm2d(stem),
            nn.ReLU(),
            _convolution(stem, stem, stride=2),
        ]
        width = stem
        for i, depth in enumerate(blocks):
            if i:
                layers += _transition(width)
                width //= 2
            layers += [DenseLayer(width + k * growth, growth) for k in range(depth)]
            width += depth * growth
        self.features = nn.Sequential(*layers, nn.BatchNorm2d(width), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = Head(width, 256, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, classes)."""
        return self.head(self.pool(self.features(x)).flatten(1))


@model(
    "ltmd-mnist",
    "three convolutions with average-pooling and two layers with lateral weights, of LTMD",
    input_shape=(1, 28, 28),
    classes=10,
    preprocessing=_MNIST,
    data="mnist5k",
    thresholds=5,
)
class LtmdMnist(nn.Module):
    """Convolutions of 32, 64 and 128 channels, an average-pooling behind each, and the head."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for width in (32, 64, 128):
            convolution = _convolution(channels, width)
            layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(), nn.AvgPool2d(2)]
            channels = width
        self.features = nn.Sequential(*layers)
        self.head = Head(channels * 3 * 3, 128, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, 28, 28) -> (B, classes)."""
        return self.head(self.features(x).flatten(1))


@model(
    "ltmd-fc8-cifar10",
    "eight fully connected layers with lateral weights, of LTMD's figure 6",
    input_shape=(3, 32, 32),
    classes=10,
    preprocessing=_CIFAR10,
    thresholds=8,
)
class LtmdFullyConnected(nn.Module):
    """Seven hidden layers of 512 neurons."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3 * 32 * 32
        for _ in range(7):
            layers += [_linear(inputs, 512), nn.BatchNorm1d(512), Lateral(), nn.ReLU()]
            inputs = 512
        self.layers = nn.Sequential(*layers, _linear(inputs, classes), Lateral())

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 32, 32) -> (B, classes)."""
        return self.layers(x.flatten(1))


def _linear(inputs: int, width: int) -> nn.Linear:
    linear = nn.Linear(inputs, width)
    nn.init.zeros_(linear.bias)
    return linear


def _convolution(channels: int, width: int, *, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    convolution = nn.Conv2d(channels, width, kernel, stride=stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight)
    return convolution


def _transition(width: int) -> list[nn.Module]:
    convolution = _convolution(width, width // 2, kernel=1)
    return [nn.BatchNorm2d(width), nn.ReLU(), convolution, nn.AvgPool2d(2)]


def _thresholds(blocks: Sequence[int]) -> int:
    # Stem, two a layer, one a transition, one before the global mean, two of the head.
    return 1 + 2 * sum(blocks) + (len(blocks) - 1) + 1 + 2


model(
    "ltmd-densenet-cifar10",
    "dense network of LTMD with 102 thresholds for CIFAR-10",
    input_shape=(3, 32, 32),
    classes=10,
    preprocessing=_CIFAR10,
    thresholds=_thresholds(_STATIC),
)(partial(LtmdDenseNet, _STATIC, channels=3, stem=256))

for _name, _side in (("dvscifar10", 48), ("nmnist", 34)):
    model(
        f"ltmd-densenet-{_name}",
        f"dense network of LTMD for events of {_side}x{_side} ({_name})",
        input_shape=(2, _side, _side),
        classes=10,
        preprocessing=_SPIKES,
        thresholds=_thresholds(_EVENTS),
    )(partial(LtmdDenseNet, _EVENTS, channels=2, stem=64))
