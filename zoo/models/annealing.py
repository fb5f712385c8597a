"""The networks of threshold annealing ("The fine line between dead neurons and sparsity in
binarized spiking neural networks"): a layer of neurons behind every layer of weights, the last one
too.

Average-pooling acts on currents, so it stands in front of batch norm and neurons. Convolutions have
no bias, fully connected layers do; weights start as torch's own (the paper's equations 26 and 27).
Where the paper searched for it, a network stands here with and without batch norm.
"""

from functools import partial

from torch import Tensor, nn

from zoo.data import Preprocessing
from zoo.models.base import model

_RAW = Preprocessing()
_SPIKES = Preprocessing(scale=1.0)


class TwoConvolutions(nn.Module):
    """5x5 convolutions without padding, pooled by two, and a fully connected layer."""

    def __init__(
        self, side: int, widths: tuple[int, int, int], *, channels: int, norm: bool
    ) -> None:
        super().__init__()
        first, second, classes = widths
        layers: list[nn.Module] = []
        for inputs, width in ((channels, first), (first, second)):
            layers += [nn.Conv2d(inputs, width, 5, bias=False), nn.AvgPool2d(2)]
            layers += [*([nn.BatchNorm2d(width)] if norm else []), nn.ReLU()]
            side = (side - 4) // 2
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(second * side * side, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, side, side) -> (B, classes)."""
        return self.head(self.features(x).flatten(1))


class TwoLayers(nn.Module):
    """Two fully connected layers."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.fc1, self.relu = nn.Linear(inputs, hidden), nn.ReLU()
        self.fc2 = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, outputs)."""
        return self.fc2(self.relu(self.fc1(x.flatten(1))))


model(
    "annealing-mnist",
    "two convolutions of threshold annealing for MNIST and Fashion-MNIST",
    input_shape=(1, 28, 28),
    classes=10,
    preprocessing=_RAW,
    data="mnist5k",
)(partial(TwoConvolutions, 28, (16, 64, 10), channels=1, norm=True))

for _norm, _ending, _text in ((True, "-norm", ", with batch norm"), (False, "", "")):
    model(
        f"annealing-dvs128{_ending}",
        f"two convolutions of threshold annealing for DVS128{_text}",
        input_shape=(2, 32, 32),
        classes=11,
        preprocessing=_SPIKES,
    )(partial(TwoConvolutions, 32, (16, 32, 11), channels=2, norm=_norm))

model(
    "annealing-shd",
    "two fully connected layers of threshold annealing for SHD",
    input_shape=(1, 1, 700),
    classes=20,
    preprocessing=_SPIKES,
)(partial(TwoLayers, 700, 3000, 20))

model(
    "annealing-temporal",
    "two fully connected layers of threshold annealing for the temporal-coding task",
    input_shape=(100,),
    classes=1,
    preprocessing=_SPIKES,
)(partial(TwoLayers, 100, 1000, 1))
