"""Accuracies that the MSAT paper and its authors' logs report, to set ours beside.

From Table 2 of "Multi-stage adaptive threshold" (MSAT), in per cent after 32, 64 and 128 steps. The
methods start from different networks, so only what each loses against its own one may be compared.
Cells that are evidently copied from another row are left out: p-Norm and Channel-Norm on ResNet20
with CIFAR-10, and Burst there, whose accuracy falls with more steps. Of MSAT itself, the row of
ResNet20 with CIFAR-100 (71.92, 78.94, 80.28) is the authors' log of a run without confidence: their
log of the run with confidence stands in its place.
"""

from collections.abc import Mapping
from dataclasses import dataclass

PAPER = "MSAT, Table 2"
LOGS = "the logs of MSAT's authors"
_RESNET20_SET = " (run with the constants of the ResNet20 set)"


@dataclass(frozen=True)
class Published:
    """One network of one row: accuracies of the original and by time steps, in per cent."""

    network: str
    ann: float
    accuracy: Mapping[int, float]
    source: str = PAPER


_ANN = {
    "VGG16 on CIFAR-10": 95.74,
    "ResNet20 on CIFAR-10": 96.56,
    "VGG16 on CIFAR-100": 78.49,
    "ResNet20 on CIFAR-100": 80.69,
}
_V10, _R10, _V100, _R100 = _ANN


def _cells(
    network: str, *accuracy: float, ann: float | None = None, source: str = PAPER
) -> Published:
    """The cells for 32, 64 and 128 steps, or the last ones of these."""
    steps = (32, 64, 128)[-len(accuracy) :]
    known = ann or _ANN[network]
    return Published(network, known, dict(zip(steps, accuracy, strict=True)), source)


TABLE_2: Mapping[str, tuple[Published, ...]] = {
    "p-norm": (
        _cells(_V10, 93.40, 93.98, 94.40),
        _cells(_V100, 44.88, 51.89, 56.02),
        _cells(_R100, 38.13, 58.09, 64.96),
    ),
    "channel-norm": (
        _cells(_V10, 87.12, 91.85, 93.81),
        _cells(_V100, 54.03, 67.34, 72.50),
        _cells(_R100, 52.59, 66.05, 70.08),
    ),
    "rmp": (
        _cells(_V10, 60.30, 90.35, 92.41, ann=93.63),
        _cells(_V100, 63.76, ann=71.22),
        _cells(_R100, 27.64, 46.91, 57.69, ann=68.72),
    ),
    "tsc": (
        _cells(_V100, 69.86, ann=71.22),
        _cells(_R100, 58.42, ann=68.72),
    ),
    "opt": (
        _cells(_V10, 92.29, 92.22, 92.24, ann=92.34),
        _cells(_R10, 93.30, 93.55, 93.56, ann=93.61),
        _cells(_V100, 7.64, 21.84, 55.04, ann=77.89),
        _cells(_R100, 51.27, 70.12, 75.81, ann=77.16),
    ),
    "calibration-advanced": (
        _cells(_V100, 73.55, 76.64, 77.40, ann=77.89),
        _cells(_R100, 76.32, 77.29, 77.73, ann=77.16),
    ),
    "burst": (
        _cells(_V10, 95.58, 95.66, 95.69),
        _cells(_V100, 74.98, 78.26, 78.66),
        _cells(_R100, 76.39, 79.83, 80.52),
    ),
    "msat-confidence": (
        _cells(_V10, 93.33, 95.14, 95.42),
        _cells(_R10, 93.33, 95.93, 96.23, source=PAPER + _RESNET20_SET),
        _cells(_V100, 67.73, 76.09, 78.08),
        _cells(_R100, 73.25, 79.10, 80.35, source=LOGS + _RESNET20_SET),
    ),
    "msat-vgg16": (
        _cells(_V10, 93.48, 95.18, 95.46, source=LOGS),
        _cells(_V100, 61.16, 74.79, 77.95, source=LOGS),
    ),
    "max-1.0": (
        _cells(_V10, 28.04, 81.00, 93.71, source=LOGS),
        _cells(_R10, 75.01, 93.59, 95.73, source=LOGS),
        _cells(_V100, 6.42, 27.63, 66.64, source=LOGS),
        _cells(_R100, 20.35, 62.07, 76.65, source=LOGS),
    ),
    "max-0.5": (
        _cells(_V10, 86.57, 94.55, 95.35, source=LOGS),
        _cells(_R10, 93.33, 95.60, 96.15, source=LOGS),
        _cells(_V100, 29.43, 67.23, 76.69, source=LOGS),
        _cells(_R100, 61.96, 76.75, 79.82, source=LOGS),
    ),
}
