"""The detector of LT-SNN ("Self-adaptive spiking neural network for event-based classification and
object detection", table 3), which it calls YOLOv2, and a small one like it.

Convolutions of 3x3 and 1x1 with batch norm and neurons, two linear layers with no neuron between,
and a grid of cells as the output: for each the scores of the classes and two boxes of confidence,
centre, and square roots of width and height (see `convsnn.measure.boxes`). Table 3 ends in 576
outputs, which are 6 x 8 cells of two classes and two boxes. Max-poolings stand behind the neurons,
the last pooling is a mean. As in the paper's other networks events come as two channels.

Not published, hence chosen here: what the input is brought to. Gen1's sensor of 240x304 is taken as
it is, poolings leave 3x4 of it. Dropout is that of the other networks. The small one is for frames
of 32x32 and 4 x 4 cells.
"""

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from zoo.data import Preprocessing
from zoo.models.base import model

BOXES = 2  # of each cell
_SPIKES = Preprocessing(scale=1.0)

# width and kernel of the convolutions of each stage; a stage ends with a pooling
Stage = tuple[tuple[int, int], ...]
_LT_SNN: tuple[Stage, ...] = (
    ((32, 3),),
    ((64, 3),),
    ((128, 3), (64, 1), (128, 3)),
    ((256, 3), (128, 1), (256, 3)),
    ((512, 3), (256, 1), (512, 3), (256, 1)),
    ((1024, 3), (512, 1), (1024, 3)),
)
_SHORT: tuple[Stage, ...] = (((8, 3),), ((16, 3),), ((32, 3),))


class Yolo(nn.Module):
    """Convolutions in `stages`, then a linear layer of `hidden` and one of a `grid` (rows,
    columns) of cells, for images (channels, height, width)."""

    def __init__(
        self,
        stages: Sequence[Stage],
        *,
        image: tuple[int, int, int],
        hidden: int,
        grid: tuple[int, int],
        classes: int = 2,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        channels, height, width = image
        layers: list[nn.Module] = []
        for place, stage in enumerate(stages):
            for size, kernel in stage:
                convolution = nn.Conv2d(channels, size, kernel, padding=kernel // 2)
                nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
                layers += [convolution, nn.BatchNorm2d(size), nn.ReLU()]
                channels = size
            last = place == len(stages) - 1
            layers.append(nn.AvgPool2d(2) if last else nn.MaxPool2d(2))
            height, width = height // 2, width // 2
        self.features = nn.Sequential(*layers)
        self.shape = (classes + 5 * BOXES, *grid)
        self.head = nn.Sequential(
            nn.Linear(channels * height * width, hidden),
            nn.Dropout(dropout),
            nn.Linear(hidden, self.shape[0] * grid[0] * grid[1]),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, *image) -> (B, classes + 5 BOXES, rows, columns)."""
        return self.head(self.features(x).flatten(1)).unflatten(1, self.shape)


for _name, _text, _image, _thresholds, _build in (
    (
        "lt-snn-yolo-gen1",
        "detector of LT-SNN for Prophesee's Gen1 recordings, 6x8 cells",
        (2, 240, 304),
        15,
        partial(Yolo, _LT_SNN, hidden=512, grid=(6, 8)),
    ),
    (
        "lt-snn-yolo-short",
        "small detector like LT-SNN's, for events of 32x32, 4x4 cells",
        (2, 32, 32),
        3,
        partial(Yolo, _SHORT, hidden=128, grid=(4, 4), dropout=0.0),
    ),
):
    model(
        _name, _text, input_shape=_image, classes=2, preprocessing=_SPIKES, thresholds=_thresholds
    )(partial(_build, image=_image))
