"""The networks of LT-SNN ("Self-adaptive spiking neural network for event-based classification and
object detection", table 3) and, with ResNet-19, those LTMD too is compared on (its table 4), as
plain networks with a ReLU for each layer of neurons.

The paper trains a threshold in every layer of neurons, so all are counted as learnable (its code
keeps that of a first layer of three channels or less, and of ResNet-19's fully connected one,
fixed). Average-poolings stand behind the neurons. Between the two fully connected layers of VGG-7,
VGG-9 and MobileNet-Light is dropout but no neuron, as in the code; the last layer never spikes.
Events come as two channels of 48x48.

Where the sources disagree or are silent (parameters as `convsnn list models` counts them):

- VGG-7: 1,766,538 in the paper's form, 1,757,514 in the code's (`vgg7-repo`: one convolution less,
  three channels of 0 to 255); the paper states 1.91 million.
- VGG-9: 7,071,530, the 7.07 million that are stated.
- MobileNet-Light: 2,433,194, nearly all in the first fully connected layer, with blocks that are
  depth-wise separable as the paper writes them, each convolution with batch norm and neurons. It
  states 1.28 and 1.5 million; in the code poolings differ and no convolution is depth-wise.
- VGG-11: 9,230,538, the convolutions of DSR's with all five stages pooled (the last 3x3 to one
  position, as there) and one linear layer; 9.34 million are stated, the end is not described.
- ResNet-19: 12,630,858, as in TET; the 11.18 million that are stated are those of a ResNet-18.
  Batch norms that meet in a sum start with a weight of 1 / sqrt(2), tdBN's rule for threshold 1.
- VGG-16: the usual thirteen convolutions with average-pooling and, since LTMD's dropout needs two
  fully connected layers, those of ResNet-19; the paper does not describe it.

Convolutions start with Kaiming's normal values (gain of ReLU, outputs counted), as in the code.
"""

from collections.abc import Sequence
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from zoo.data import Preprocessing
from zoo.models.base import model

_CIFAR10 = Preprocessing(mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.243, 0.261))
_SPIKES = Preprocessing(scale=1.0)
_TD_BN = 2**-0.5

# Widths of the convolutions of each stage; a stage ends with an average-pooling.
_VGG7 = ((32, 32), (64, 64), (128, 128), (256, 256))
_VGG7_REPO = ((32,), *_VGG7[1:])
_VGG9 = ((32, 64, 64), (128, 128), (256, 256), (512, 512))
_VGG11 = ((64,), (128,), (256, 256), (512, 512), (512, 512))
_VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
_MOBILENET = ((64, 64), (128, 128), (256,))
_RESNET19 = ((128, 3), (256, 3), (512, 2))


class Vgg(nn.Module):
    """3x3 convolutions with batch norm in `stages`, then `head` on what is left of the image."""

    def __init__(
        self, stages: Sequence[Sequence[int]], head: nn.Sequential, *, channels: int = 2
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for stage in stages:
            for width in stage:
                layers += [*_convolution(channels, width), nn.ReLU()]
                channels = width
            layers.append(nn.AvgPool2d(2))
        self.features = nn.Sequential(*layers)
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, classes)."""
        return self.head(self.features(x).flatten(1))


class MobileNetLight(nn.Module):
    """A convolution of 32 channels, five separable blocks, three poolings, two linear layers."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        channels = 32
        layers: list[nn.Module] = [*_convolution(2, channels), nn.ReLU()]
        for stage in _MOBILENET:
            for width in stage:
                depth_wise = _convolution(channels, channels, groups=channels)
                point_wise = _convolution(channels, width, kernel=1)
                layers += [*depth_wise, nn.ReLU(), *point_wise, nn.ReLU()]
                channels = width
            layers.append(nn.AvgPool2d(2))
        self.features = nn.Sequential(*layers)
        self.head = _two_layers(channels * 6 * 6, 256, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 2, 48, 48) -> (B, classes)."""
        return self.head(self.features(x).flatten(1))


class ResNet19Block(nn.Module):
    """Two 3x3 convolutions beside the identity, or beside a 1x1 convolution where it widens."""

    def __init__(self, channels: int, width: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = _convolution(channels, width, stride=stride, bias=False)
        self.conv2 = _convolution(width, width, bias=False, gain=_TD_BN)
        self.shortcut = nn.Sequential()
        if width != channels:
            self.shortcut = _convolution(
                channels, width, kernel=1, stride=stride, bias=False, gain=_TD_BN
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, width, H / stride, W / stride)."""
        return F.relu(self.conv2(F.relu(self.conv1(x))) + self.shortcut(x))


class ResNet19(nn.Module):
    """A convolution of 64 channels, eight basic blocks, a global mean, two layers of neurons."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        channels = 64
        self.stem = _convolution(3, channels, bias=False)
        blocks: list[nn.Module] = []
        for i, (width, depth) in enumerate(_RESNET19):
            blocks.append(ResNet19Block(channels, width, stride=2 if i else 1))
            blocks += [ResNet19Block(width, width) for _ in range(depth - 1)]
            channels = width
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = _spiking_head(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 32, 32) -> (B, classes)."""
        return self.head(self.pool(self.blocks(F.relu(self.stem(x)))).flatten(1))


def _convolution(
    channels: int,
    width: int,
    *,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
    bias: bool = True,
    gain: float = 1.0,
) -> nn.Sequential:
    convolution = nn.Conv2d(
        channels, width, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=bias
    )
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    norm = nn.BatchNorm2d(width)
    nn.init.constant_(norm.weight, gain)
    return nn.Sequential(convolution, norm)


def _two_layers(inputs: int, width: int, classes: int = 10) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.Dropout(0.5), nn.Linear(width, classes))


def _spiking_head(inputs: int, classes: int = 10) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 256), nn.ReLU(), nn.Linear(256, classes))


def _vgg(stages: Sequence[Sequence[int]], hidden: int, *, channels: int = 2) -> Vgg:
    # Four poolings leave 3x3 of 48x48.
    return Vgg(stages, _two_layers(stages[-1][-1] * 3 * 3, hidden), channels=channels)


def _vgg11() -> Vgg:
    return Vgg(_VGG11, nn.Sequential(nn.Linear(_VGG11[-1][-1], 10)))


def _vgg16() -> Vgg:
    return Vgg(_VGG16, _spiking_head(_VGG16[-1][-1]), channels=3)


for _name, _title, _channels, _thresholds, _build in (
    ("vgg7", "VGG-7 of LT-SNN", 2, 8, partial(_vgg, _VGG7, 256)),
    ("vgg7-repo", "VGG-7 of LT-SNN's code", 3, 7, partial(_vgg, _VGG7_REPO, 256, channels=3)),
    ("vgg9", "VGG-9 of LT-SNN", 2, 9, partial(_vgg, _VGG9, 512)),
    ("vgg11", "VGG-11 of DSR, as LT-SNN compares on it", 2, 8, _vgg11),
    ("mobilenet", "MobileNet-Light of LT-SNN", 2, 11, MobileNetLight),
):
    model(
        f"lt-snn-{_name}-dvscifar10",
        f"{_title}, for events of 48x48",
        input_shape=(_channels, 48, 48),
        classes=10,
        preprocessing=_SPIKES,
        thresholds=_thresholds,
    )(_build)

model(
    "lt-snn-resnet19-cifar10",
    "ResNet-19 that LT-SNN and LTMD train, for CIFAR-10",
    input_shape=(3, 32, 32),
    classes=10,
    preprocessing=_CIFAR10,
    thresholds=18,
)(ResNet19)

model(
    "lt-snn-vgg16-cifar10",
    "VGG-16 with average-pooling that LTMD trains, for CIFAR-10",
    input_shape=(3, 32, 32),
    classes=10,
    preprocessing=_CIFAR10,
    thresholds=14,
)(_vgg16)
