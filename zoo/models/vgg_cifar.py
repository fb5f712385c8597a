"""VGG-16 with batch norm for 32x32 images, as it is common in work on conversion (MSAT and others).

Thirteen 3x3 convolutions, each with bias, batch norm and ReLU, five max-poolings, one linear layer.
"""

from functools import partial

from torch import Tensor, nn

from zoo.data import Preprocessing
from zoo.models.base import model

_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class CifarVgg16(nn.Module):
    """VGG-16 for (B, 3, 32, 32); the five poolings leave one position."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for stage in _STAGES:
            for width in stage:
                convolution = nn.Conv2d(channels, width, 3, padding=1)
                layers += [convolution, nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 32, 32) -> (B, classes)."""
        return self.classifier(self.features(x).flatten(1))


for _classes in (10, 100):
    model(
        f"vgg16-cifar{_classes}",
        f"VGG-16 with batch norm, max-pooling and one linear layer for CIFAR-{_classes}",
        input_shape=(3, 32, 32),
        classes=_classes,
        preprocessing=Preprocessing(mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761)),
    )(partial(CifarVgg16, _classes))
