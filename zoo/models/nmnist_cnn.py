"""A small convolutional network of ReLUs for events: it is trained on the mean of a recording's
frames, and once converted it is shown these frames one by one.

The frames are those of the short recipes of Rouser, whose networks are trained on them as spiking
ones: 17x17, in which pixels of the sensor are joined by two, 60 of 5 ms in the clock of N-MNIST.
"""

from torch import Tensor, nn

from zoo.data import Binning, Preprocessing
from zoo.models.base import model


def _layer(channels: int, width: int, stride: int) -> list[nn.Module]:
    # Batch norm has the bias.
    convolution = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(width), nn.ReLU()]


@model(
    "nmnist-cnn",
    "three convolutions for the mean frame of N-MNIST at half the side; weights by zoo.train",
    input_shape=(2, 17, 17),
    classes=10,
    preprocessing=Preprocessing(scale=1.0, binning=Binning(by=5_000), frames=60),
)
class NmnistCnn(nn.Module):
    """Convolutions of 16, 32 and 32 channels for (B, 2, 17, 17), by strides down to 5x5."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(*_layer(2, 16, 1), *_layer(16, 32, 2), *_layer(32, 32, 2))
        self.classifier = nn.Linear(32 * 5 * 5, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 2, 17, 17) -> (B, classes)."""
        return self.classifier(self.features(x).flatten(1))
