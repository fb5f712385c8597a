"""The thin residual networks for 32x32 images of He et al. 2016, section 4.2, shortcut option A.

Depth 6n + 2: a stem, three stages of n blocks with 16, 32 and 64 channels, one linear layer. The
module names are those of the widely used checkpoints of akamaster/pytorch_resnet_cifar10.
"""

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from zoo.data import Preprocessing
from zoo.models.base import model

_WIDTHS = (16, 32, 64)
_IMAGENET = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def _conv3x3(channels: int, width: int, *, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut without parameters."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.stride = 1 if width == channels else 2
        self.new_channels = width - channels
        self.conv1 = _conv3x3(channels, width, stride=self.stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, width, H / stride, W / stride)."""
        inner = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(inner)) + self._shortcut(x))

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            return x
        # Option A: the new channels are zeros, half of them before and half behind the old ones.
        half = self.new_channels // 2
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half))


class CifarResNet(nn.Module):
    """Residual network of `depth` = 6n + 2 weighted layers for (B, 3, 32, 32)."""

    def __init__(self, depth: int, classes: int = 10) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            raise ValueError(f"depth {depth} is not 6n + 2")
        stem, *_ = _WIDTHS
        self.conv1 = _conv3x3(3, stem)
        self.bn1 = nn.BatchNorm2d(stem)
        self.layer1 = _stage(stem, _WIDTHS[0], blocks=blocks)
        self.layer2 = _stage(_WIDTHS[0], _WIDTHS[1], blocks=blocks)
        self.layer3 = _stage(_WIDTHS[1], _WIDTHS[2], blocks=blocks)
        self.linear = nn.Linear(_WIDTHS[2], classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 32, 32) -> (B, classes)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(F.avg_pool2d(x, 8).flatten(1))


def _stage(channels: int, width: int, *, blocks: int) -> nn.Sequential:
    later = (Block(width, width) for _ in range(blocks - 1))
    return nn.Sequential(Block(channels, width), *later)


for _depth in (20, 32, 44, 56, 110):
    model(
        f"resnet{_depth}-cifar10",
        f"ResNet-{_depth} of He et al. 2016 for CIFAR-10, shortcut option A",
        input_shape=(3, 32, 32),
        classes=10,
        preprocessing=_IMAGENET,
    )(partial(CifarResNet, _depth))
