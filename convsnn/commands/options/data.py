"""Options that say which data, and how its values become what a network takes."""

from typing import Annotated, Literal

import typer

from convsnn.commands.options.engine import NUMBER

_DATA = "Data and preprocessing"
_EXIT = "Early exit"

Data = Annotated[
    str | None,
    typer.Option(
        help="mnist5k, digits, npz:TRAIN.npz,TEST.npz, mnist:ROOT, fashion-mnist:ROOT, "
        "cifar10:ROOT, cifar100:ROOT, imagenet:ROOT or folder:DIR; events:FILE, nmnist:ROOT and "
        "frames:TRAIN.npz,TEST.npz of frames over time. Calibration draws from the "
        "training part, scoring from the test part. Default: what the model's file names.",
        rich_help_panel=_DATA,
    ),
]
Scale = Annotated[
    float | None,
    typer.Option(
        help="Raw values are divided by this (default 255 for 8-bit images, else 1).",
        rich_help_panel=_DATA,
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(help="Per channel, after scaling: 0.485,0.456,0.406.", rich_help_panel=_DATA),
]
Std = Annotated[
    str | None,
    typer.Option(help="Per channel, after scaling: 0.229,0.224,0.225.", rich_help_panel=_DATA),
]
Resize = Annotated[
    str | None,
    typer.Option(
        help="256 (shorter side, then a centre crop) or 224,224 (exactly).", rich_help_panel=_DATA
    ),
]
InputLayout = Annotated[
    str | None,
    typer.Option(
        help="The order the network takes: nchw, nhwc or flat (default: found from the shapes).",
        rich_help_panel=_DATA,
    ),
]
FramesBy = Annotated[
    str | None,
    typer.Option(
        help="How events become frames, one a time step: time, count, or the width of a frame in "
        "the recording's clock.",
        rich_help_panel=_DATA,
    ),
]
FrameValue = Annotated[
    Literal["binary", "count", "share"] | None,
    typer.Option(help="What a pixel of a frame of events holds.", rich_help_panel=_DATA),
]
Task = Annotated[
    str | None,
    typer.Option(
        help="What the network is for: classify, multilabel, regress, segment, or none "
        "(default: as the data's targets decide it).",
        rich_help_panel=_DATA,
    ),
]
MaxDrop = Annotated[
    float | None,
    typer.Option(
        help="Exit 1 if the score at the last step (accuracy, F1, mIoU; 100 x R2) falls by more "
        "points than this."
    ),
]
EarlyExit = Annotated[
    float | None,
    typer.Option(
        help="Also run each image only until its answer is settled, so that this percentage "
        "agrees with the run of all time steps, like 99.5.",
        rich_help_panel=_EXIT,
    ),
]
ExitData = Annotated[
    str | None,
    typer.Option(
        help="Data that the network has not been trained on, named as for --data; the margins of "
        "early exit are fitted on its training part (default: sums of two calibration images).",
        rich_help_panel=_EXIT,
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(
        metavar=NUMBER, help="Test images to score, chosen at random (default: all).", min=1
    ),
]
Examples = Annotated[
    int | None,
    typer.Option(
        metavar=NUMBER,
        help="Test images that the report looks at closely: answers over time, spikes, potentials "
        "(default: one in 100, at most 6; 0 for none).",
        min=0,
    ),
]
CalibrationSamples = Annotated[
    int, typer.Option(metavar=NUMBER, help="Training images to calibrate on.", min=1)
]
