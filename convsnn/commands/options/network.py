"""Options that say which network is meant, and how its activations become neurons."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from convsnn.commands.options.engine import NUMBER

_NETWORK = "Network"

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
Artifact = Annotated[
    Path,
    typer.Argument(
        metavar="ARTIFACT", help="A network.safetensors of convsnn, or the folder it is in."
    ),
]
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
Encoder = Annotated[
    str | None,
    typer.Option(
        help="Input encoder: direct, poisson, or tsc; frames shows events and sequences frame by "
        "frame (default: frames for these, else direct)."
    ),
]
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
        help="mean: all steps count alike; rising: step t counts t times, rising:power=2: t^2 "
        "times; auto: whichever is closest to the original on calibration images; switch: for tsc."
    ),
]
ReadoutDelay = Annotated[
    int,
    typer.Option(
        metavar=NUMBER, help="First steps that the readout leaves out; they count in T.", min=0
    ),
]
Fit = Annotated[
    list[str] | None,
    typer.Option(
        metavar="WHAT=if:N",
        help="Stand N neurons, fitted to its line, for each value of a smooth activation "
        "(gelu=if:8) or of a layer that is one; repeatable. Chips are convsnn fit's.",
    ),
]
Verify = Annotated[
    bool, typer.Option(help="Compare the imported network's output with the original's.")
]
