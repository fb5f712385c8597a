"""A small ConvNeXt-like network for MNIST whose trained weights are bundled."""

import torch
from torch import Tensor, nn

from zoo.data import Preprocessing
from zoo.models.base import model


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """A depth-wise convolution, a layer norm and two layers with GELU beside an identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.wide = nn.Linear(width, 3 * width)
        self.act = nn.GELU()
        self.narrow = nn.Linear(3 * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        inner = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        inner = self.scale * self.narrow(self.act(self.wide(inner)))
        return x + inner.permute(0, 3, 1, 2)


@model(
    "mnist5k-convnext",
    "a ConvNeXt-like network of four blocks (GELU, layer norm) for MNIST, trained on mnist5k by "
    "zoo.train",
    input_shape=(1, 28, 28),
    classes=10,
    preprocessing=Preprocessing(mean=(0.1307,), std=(0.3081,)),
    data="mnist5k",
    weights="mnist5k-convnext.safetensors",
)
class MnistConvNext(nn.Module):
    """A stem of 4x4 patches at stride 2, two stages of two blocks for (B, 1, 28, 28)."""

    def __init__(self, classes: int = 10, *, widths: tuple[int, int] = (32, 64)) -> None:
        super().__init__()
        first, second = widths
        self.stem = nn.Sequential(nn.Conv2d(1, first, 4, stride=2, padding=1), ChannelNorm(first))
        self.stage1 = nn.Sequential(Block(first), Block(first))
        self.down = nn.Sequential(ChannelNorm(first), nn.Conv2d(first, second, 2, stride=2))
        self.stage2 = nn.Sequential(Block(second), Block(second))
        self.norm = nn.LayerNorm(second)
        self.head = nn.Linear(second, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, 28, 28) -> (B, classes)."""
        x = self.stage2(self.down(self.stage1(self.stem(x))))
        return self.head(self.norm(x.mean((2, 3))))
