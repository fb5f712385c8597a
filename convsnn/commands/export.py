"""`convsnn export`: a saved spiking network in a format that others run."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from convsnn.commands import options
from convsnn.commands.terminal import messages
from convsnn.errors import ConfigError
from convsnn.workflows.export.network import export as write

_ONNX, _NIR = "ONNX", "NIR"


def export(
    artifact: options.Artifact,
    *,
    to: Annotated[Literal["onnx", "nir"], typer.Option(help="The format.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")],
    form: Annotated[
        Literal["step", "loop", "layers"] | None,
        typer.Option(
            help="step: one time step a call, states in and out (the default); loop: all steps in "
            "one call; layers: one pass, for networks of the schedule 'layers' (their only form).",
            rich_help_panel=_ONNX,
        ),
    ] = None,
    precision: Annotated[
        Literal["float32", "float64"] | None,
        typer.Option(
            help="float64: slower, but no rounding moves a spike (default: float32).",
            rich_help_panel=_ONNX,
        ),
    ] = None,
    spikes: Annotated[
        bool,
        typer.Option(
            "--spikes", help="Add what every layer sent as outputs.", rich_help_panel=_ONNX
        ),
    ] = False,
    place: Annotated[
        Literal["node", "host"] | None,
        typer.Option(
            "--input",
            help="Where the input layer is, which takes a current and no spikes: the leading node "
            "of the graph (the default), or kept on the host, whose spikes are the input then.",
            rich_help_panel=_NIR,
        ),
    ] = None,
    initial: Annotated[
        Literal["refuse", "metadata", "bias"] | None,
        typer.Option(
            help="Initial potentials, which NIR has no word for: refuse them (the default), keep "
            "them in the metadata, or spread them over the time steps as a bias.",
            rich_help_panel=_NIR,
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Names of the classes, one in each line (default: those of the data).",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier file.")] = False,
) -> None:
    """Write a spiking network as ONNX or NIR; what cannot be said exactly is refused by name."""
    if output.exists() and not force:
        raise ConfigError(
            f"'{output}' exists", hint="choose another name, or replace it with --force"
        )
    path = write(
        artifact, output, to, form=form, precision=precision, input=place, spikes=spikes,
        initial=initial, labels=labels,
    )  # fmt: skip
    messages().print(f"{path}: {path.stat().st_size:,} bytes", markup=False)
