"""A VGG-style network for MNIST whose weights, trained on all 60,000 digits, are bundled."""

from torch import Tensor, nn

from zoo.data import Preprocessing
from zoo.models.base import model

_STAGES = ((16, 16), (32, 32), (64, 64))


@model(
    "mnist-vgg",
    "six convolutions in three stages with max-pooling for MNIST, trained by zoo.train",
    input_shape=(1, 28, 28),
    classes=10,
    preprocessing=Preprocessing(mean=(0.1307,), std=(0.3081,)),
    weights="mnist-vgg.safetensors",
)
class MnistVgg(nn.Module):
    """Two convolutions and a max-pooling in each of three stages for (B, 1, 28, 28)."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for stage in _STAGES:
            for width in stage:
                # Batch norm has the bias.
                convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
                layers += [convolution, nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels * 3 * 3, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, 28, 28) -> (B, classes)."""
        return self.classifier(self.features(x).flatten(1))
