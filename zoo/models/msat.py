"""The ResNet20 of MSAT ("Multi-stage adaptive threshold", section 6), for CIFAR-10 and -100; its
VGG16 is `vgg16-cifar10` and `vgg16-cifar100`.

This "ResNet20" is no CIFAR ResNet of 6n + 2 layers: three convolutions of 64 channels, then eight
basic blocks of 64 to 512 channels as in ResNet-18, a max-pooling of 4 x 4 and one linear layer.

The authors trained both for 300 epochs with batches of 128: SGD with momentum 0.9, learning rate
0.1 along a cosine to zero, weight decay 5e-4, cross entropy (VGG16 with label smoothing 0.1), on
random crops (padding 4) and flips, the CIFAR-10 policy of AutoAugment and Cutout of 16 x 16, for
both data sets with the mean and standard deviation of CIFAR-100 below. They state 95.74 % (VGG16)
and 96.56 % (ResNet20) for CIFAR-10, 78.49 % and 80.69 % for CIFAR-100.
"""

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from zoo.data import Preprocessing
from zoo.models.base import model

_CIFAR100 = Preprocessing(mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761))
_RESNET = (64, 128, 256, 512)


class MsatBlock(nn.Module):
    """Two 3x3 convolutions beside the identity, or beside a 1x1 convolution where it widens."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        stride = 1 if width == channels else 2
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if width != channels:
            self.shortcut.append(nn.Conv2d(channels, width, 1, stride=stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, width, H / stride, W / stride)."""
        inner = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(inner)) + self.shortcut(x))


class MsatResNet20(nn.Module):
    """Three convolutions, eight basic blocks, max-pooling, one linear layer."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        stem, *_ = _RESNET
        self.stem = nn.Sequential(
            *_convolution(3, stem), *_convolution(stem, stem), *_convolution(stem, stem)
        )
        blocks: list[nn.Module] = []
        channels = stem
        for width in _RESNET:
            blocks += [MsatBlock(channels, width), MsatBlock(width, width)]
            channels = width
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.MaxPool2d(4)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 32, 32) -> (B, classes)."""
        return self.classifier(self.pool(self.blocks(self.stem(x))).flatten(1))


def _convolution(channels: int, width: int) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(width), nn.ReLU()]


for _classes in (10, 100):
    model(
        f"msat-resnet20-cifar{_classes}",
        f"ResNet20 of MSAT, 64 to 512 channels, for CIFAR-{_classes}",
        input_shape=(3, 32, 32),
        classes=_classes,
        preprocessing=_CIFAR100,
    )(partial(MsatResNet20, _classes))
