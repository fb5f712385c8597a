"""`convsnn export`: a saved spiking network in a format that others run."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from convsnn.commands.terminal import messages
from convsnn.errors import ConfigError
from convsnn.workflows.export.network import export as write

_ONNX, _NIR = "ONNX", "NIR"


def export(
    artifact: Annotated[
        Path,
        typer.Argument(
            metavar="ARTIFACT", help="A network.safetensors of convsnn, or the folder it is in."
        ),
    ],
    *,
    to: Annotated[Literal["onnx", "nir"], typer.Option(help="The format.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")],
    form: Annotated[
        Literal["step", "loop"] | None,
        typer.Option(
            help="step: one time step a call, states in and out (the default); loop: all steps in "
            "one call.",
            rich_help_panel=_ONNX,
        ),
    ] = None,
    spikes: Annotated[
        bool,
        typer.Option(
            "--spikes", help="Add what every layer sent as outputs.", rich_help_panel=_ONNX
        ),
    ] = False,
    initial: Annotated[
        Literal["refuse", "metadata", "bias"] | None,
        typer.Option(
            help="Initial potentials, which NIR has no word for: refuse them (the default), keep "
            "them in the metadata, or spread them over the time steps as a bias.",
            rich_help_panel=_NIR,
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="A text file that names the classes, one a line.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier file.")] = False,
) -> None:
    """Write a spiking network as ONNX or NIR; what cannot be said exactly is refused by name."""
    if output.exists() and not force:
        raise ConfigError(
            f"'{output}' exists", hint="choose another name, or replace it with --force"
        )
    path = write(
        artifact, output, to, form=form, spikes=spikes, initial=initial, labels=_names(labels)
    )
    messages().print(f"{path}: {path.stat().st_size:,} bytes", markup=False)


def _names(path: Path | None) -> list[str] | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--labels {path} cannot be read: {error}") from None
