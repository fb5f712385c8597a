"""Options that several commands share, and how their texts are read."""

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from convsnn.errors import ConfigError
from convsnn.ranges import VALUES
from zoo.data import Binning

NUMBER = "N"  # short, so that 80 columns have room for the longest option's name
_DATA = "Data and preprocessing"
_NETWORK = "Network"
_ENGINE = "Precision and speed"
_EXIT = "Early exit"

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="An ONNX file, package.module:factory, torchvision:NAME, timm:NAME or zoo:NAME.",
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        help="Weights of a module: .safetensors, or .pt/.pth/.th read without unpickling.",
        rich_help_panel=_NETWORK,
    ),
]
InputShape = Annotated[
    str | None,
    typer.Option(
        help="Shape of one sample, like 3,32,32; where neither the model nor the data tells.",
        rich_help_panel=_NETWORK,
    ),
]
Answer = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The output to take where the network has several, or an inner value of an ONNX file.",
        rich_help_panel=_NETWORK,
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        help="mnist5k, digits, npz:TRAIN.npz,TEST.npz, mnist:ROOT, fashion-mnist:ROOT, "
        "cifar10:ROOT, cifar100:ROOT, imagenet:ROOT or folder:DIR. Calibration draws from the "
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
FramesBy = Annotated[
    str | None,
    typer.Option(
        help="How events become frames, for a .nir network: time, count, or the width of a frame "
        "in the recording's clock.",
        rich_help_panel=_DATA,
    ),
]
FrameValue = Annotated[
    Literal["binary", "count", "share"] | None,
    typer.Option(help="What a pixel of a frame holds, for a .nir network.", rich_help_panel=_DATA),
]
Artifact = Annotated[
    Path,
    typer.Argument(
        metavar="ARTIFACT", help="A network.safetensors of convsnn, or the folder it is in."
    ),
]
SavedSteps = Annotated[
    int | None, typer.Option(help="Number of time steps (default: those it was made for).")
]
SavedSeed = Annotated[
    int | None, typer.Option(help="Chooses samples (default: that of the conversion).", min=0)
]
Force = Annotated[bool, typer.Option("--force", help="Replace an earlier result.")]
Calibrate = Annotated[
    str | None,
    typer.Option(
        help="Stages like percentile:q=99.9, chained with + (default: mse+weights for if, mse "
        "for signed, mse:steps=2 for burst, max for msat, percentile+tsc for tsc)."
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        help="Stages, neuron, encoder and readout of a method of compare (convsnn list methods)."
    ),
]
Neuron = Annotated[str, typer.Option(help="Neuron model, like if:reset=zero.")]
Encoder = Annotated[str, typer.Option(help="Input encoder: direct, poisson, or tsc.")]
MaxPool = Annotated[
    Literal["exact", "current"],
    typer.Option(
        metavar="MODE",
        help="exact: running sums, graded output; current: before the neuron, cheaper, biased.",
    ),
]
Readout = Annotated[
    str,
    typer.Option(
        help="mean: all steps count alike; rising: step t counts t times; auto: whichever of "
        "them is closer to the original on calibration images; switch: for tsc."
    ),
]
ReadoutDelay = Annotated[
    int,
    typer.Option(
        metavar=NUMBER, help="First steps that the readout leaves out; they count in T.", min=0
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(
        metavar=NUMBER, help="Test images to score, chosen at random (default: all).", min=1
    ),
]
CalibrationSamples = Annotated[
    int, typer.Option(metavar=NUMBER, help="Training images to calibrate on.", min=1)
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        metavar=NUMBER, help="Images run at once (default: 50, or as many as memory takes).", min=1
    ),
]
Seed = Annotated[
    int, typer.Option(metavar=NUMBER, help="Chooses samples and random spikes.", min=0)
]
Precision = Annotated[
    Literal["auto", "float32", "bfloat16", "int8"],
    typer.Option(
        help="What is simulated in; float32 is the reference, auto the fastest on this machine.",
        rich_help_panel=_ENGINE,
    ),
]
SavedPrecision = Annotated[
    Literal["auto", "float32", "bfloat16", "int8"] | None,
    typer.Option(
        help="What is simulated in (default: as when it was made).", rich_help_panel=_ENGINE
    ),
]
WeightBits = Annotated[
    int | None,
    typer.Option(
        help="Round weights to so many bits per output channel, as neuromorphic chips hold them.",
        min=4,
        max=8,
        rich_help_panel=_ENGINE,
    ),
]
Compile = Annotated[
    bool | None,
    typer.Option(
        "--compile/--no-compile",
        help="Compile the neurons' loops (default: where the work is long enough to gain by it).",
        rich_help_panel=_ENGINE,
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
Verify = Annotated[
    bool, typer.Option(help="Compare the imported network's output with the original's.")
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


def numbers(text: str, option: str) -> tuple[float, ...]:
    """`0.485,0.456,0.406` as numbers; ConfigError names the option otherwise."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"{option} {text} is not a list of numbers", hint="like 0.5,0.5"
        ) from None


def names(text: str) -> list[str]:
    """`spikingjelly,sinabs` as names, none of them empty."""
    return [name.strip() for name in text.split(",") if name.strip()]


def sizes(text: str, option: str) -> tuple[int, ...]:
    """`3,32,32` as positive whole numbers; ConfigError names the option otherwise."""
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        raise ConfigError(
            f"{option} {text} is not a list of positive whole numbers", hint="like 3,32,32"
        )
    return found


def shape(text: str | None) -> tuple[int, ...] | None:
    """What --input-shape says, None where it is not given."""
    found = None if text is None else sizes(text, "--input-shape")
    if found is not None and math.prod(found) > VALUES:
        raise ConfigError(f"--input-shape {text} has more than {VALUES} values")
    return found


def preprocessing(
    *,
    scale: float | None,
    mean: str | None,
    std: str | None,
    resize: str | None,
    layout: str | None,
) -> dict[str, Any]:
    """What the user gave, to stand in place of a model's own: see `Preprocessing.override`."""
    return {
        "scale": scale,
        "mean": None if mean is None else numbers(mean, "--mean"),
        "std": None if std is None else numbers(std, "--std"),
        "resize": None if resize is None else sizes(resize, "--resize"),
        "layout": layout,
    }


def binning(by: str | None, value: Literal["binary", "count", "share"] | None) -> Binning | None:
    """What --frames-by and --frame-value say, None where neither is given."""
    if by is None and value is None:
        return None
    width: Any = int(by) if by is not None and by.isdigit() else by or "time"
    return Binning(width, value or "count")
