"""The networks of Rouser ("Robust SNN training using adaptive threshold learning"): fully connected
layers without bias, a layer of neurons behind each, the last one too.

Weights start as Kaiming has them. Not published, hence chosen here: the small networks that train
in minutes on a CPU, for frames of 17x17 in which pixels of the sensor are joined by two.
"""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from zoo.data import Preprocessing
from zoo.models.base import model

_SPIKES = Preprocessing(scale=1.0)


class FullyConnected(nn.Module):
    """(B, *shape) -> (B, widths[-1]); ReLUs stand for all layers of neurons but the last."""

    def __init__(self, shape: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        inputs = math.prod(shape)
        for place, width in enumerate(widths):
            linear = nn.Linear(inputs, width, bias=False)
            nn.init.kaiming_uniform_(linear.weight, nonlinearity="relu")
            layers += [*([nn.ReLU()] if place else []), linear]
            inputs = width
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(B, *shape) -> (B, classes)."""
        return self.layers(x)


def _enrol(name: str, text: str, shape: tuple[int, ...], widths: tuple[int, ...]) -> None:
    def build() -> nn.Module:
        return FullyConnected(shape, widths)

    model(
        name,
        text,
        input_shape=shape,
        classes=widths[-1],
        preprocessing=_SPIKES,
        thresholds=sum(widths),
    )(build)


_enrol(
    "rouser-nmnist", "fully connected network of Rouser for N-MNIST", (2, 34, 34), (500, 500, 10)
)
_enrol("rouser-dvs128", "fully connected network of Rouser for DVS128", (2, 128, 128), (64, 11))
_enrol("rouser-shd", "fully connected network of Rouser for SHD", (1, 1, 700), (200, 200, 20))
_enrol(
    "rouser-nmnist-short",
    "fully connected network like Rouser's for N-MNIST at half the side",
    (2, 17, 17),
    (200, 200, 10),
)
