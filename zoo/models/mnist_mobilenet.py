"""A small network like MobileNetV3 (hard-swish, gates) for MNIST, its trained weights bundled."""

from torch import Tensor, nn

from zoo.data import Preprocessing
from zoo.models.base import model

# input channels, width inside, output channels, stride
_BLOCKS = ((16, 32, 16, 1), (16, 64, 24, 2), (24, 72, 24, 1))


def _convolution(
    channels: int, width: int, kernel: int, *, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    # Batch norm has the bias.
    padding = kernel // 2
    convolution = nn.Conv2d(
        channels, width, kernel, stride=stride, padding=padding, groups=groups, bias=False
    )
    return [convolution, nn.BatchNorm2d(width)]


class Gate(nn.Module):
    """Squeeze and excite: every channel times a number made of the means of all."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.AdaptiveAvgPool2d(1)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels // 4, 1),
            nn.ReLU(),
            nn.Conv2d(channels // 4, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        return x * self.layers(self.squeeze(x))


class Block(nn.Module):
    """An inverted residual: wider, depth-wise, gated, narrower."""

    def __init__(self, channels: int, inside: int, width: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_convolution(channels, inside, 1),
            nn.Hardswish(),
            *_convolution(inside, inside, 3, stride=stride, groups=inside),
            nn.Hardswish(),
            Gate(inside),
            *_convolution(inside, width, 1),
        )
        self.beside = stride == 1 and channels == width

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, width, H / stride, W / stride)."""
        return x + self.layers(x) if self.beside else self.layers(x)


@model(
    "mnist5k-mobilenet",
    "three inverted residuals with hard-swish and squeeze-and-excite gates for MNIST, trained on "
    "mnist5k by zoo.train",
    input_shape=(1, 28, 28),
    classes=10,
    preprocessing=Preprocessing(mean=(0.1307,), std=(0.3081,)),
    data="mnist5k",
    weights="mnist5k-mobilenet.safetensors",
)
class MnistMobileNet(nn.Module):
    """A convolution at stride 2, three blocks, a wide convolution, a global mean."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        last, wide = _BLOCKS[-1][2], 96
        self.features = nn.Sequential(
            *_convolution(1, _BLOCKS[0][0], 3, stride=2),
            nn.Hardswish(),
            *(Block(*sizes) for sizes in _BLOCKS),
            *_convolution(last, wide, 1),
            nn.Hardswish(),
            nn.AdaptiveAvgPool2d(1),
        )
        self.classifier = nn.Linear(wide, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, 28, 28) -> (B, classes)."""
        return self.classifier(self.features(x).flatten(1))
