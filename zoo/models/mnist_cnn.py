"""A small convolutional network with max-pooling whose trained weights are bundled."""

from torch import Tensor, nn

from zoo.data import Preprocessing
from zoo.models.base import model


def _layer(channels: int, width: int) -> list[nn.Module]:
    # Batch norm has the bias.
    convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(width), nn.ReLU()]


@model(
    "mnist5k-cnn",
    "three convolutions with max-pooling for MNIST, trained on mnist5k by zoo.train",
    input_shape=(1, 28, 28),
    classes=10,
    preprocessing=Preprocessing(mean=(0.1307,), std=(0.3081,)),
    data="mnist5k",
    weights="mnist5k-cnn.safetensors",
)
class MnistCnn(nn.Module):
    """Convolutions of 16, 32 and 32 channels for (B, 1, 28, 28), pooled to 7x7."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_layer(1, 16), nn.MaxPool2d(2), *_layer(16, 32), nn.MaxPool2d(2), *_layer(32, 32)
        )
        self.classifier = nn.Linear(32 * 7 * 7, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, 28, 28) -> (B, classes)."""
        return self.classifier(self.features(x).flatten(1))
