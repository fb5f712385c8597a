"""`convsnn fit`: whether a saved spiking network fits a chip, and what it would cost there."""

from typing import Annotated

import typer

from convsnn.commands import options, printing
from convsnn.workflows.fit.chip import fit as check


def fit(
    artifact: options.Artifact,
    *,
    chip: Annotated[str, typer.Option(help="loihi2, speck, spinnaker2, xylo, or FILE.toml.")],
    weight_bits: Annotated[
        int | None,
        typer.Option(help="Bits that the weights will be rounded to.", min=1, max=32),
    ] = None,
    as_json: options.Json = False,
    csv: options.Csv = None,
) -> int:
    """Hold a spiking network against a chip's published limits; exit 1 where it does not fit.

    Neurons that stand for smooth functions are another thing: convsnn convert --fit.
    """
    found = check(artifact, chip, weight_bits=weight_bits)
    printing.show_result(found, as_json=as_json, csv=csv, width=100)
    return 0 if found.fits else 1
