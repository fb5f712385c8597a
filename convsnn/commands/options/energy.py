"""Options that say what an operation costs, and which number of steps is worth it."""

from typing import Annotated, Literal

import typer

_ENERGY = "Energy"

EnergySet = Annotated[
    str | None,
    typer.Option(
        "--energy",
        metavar="SET",
        help="Sets of constants to price with: horowitz45, lemaire, yan22, or FILE.toml; several "
        "with commas (default: all three).",
        rich_help_panel=_ENERGY,
    ),
]
MacPj = Annotated[
    float | None,
    typer.Option(
        help="Picojoules of a multiply-accumulate, instead of a set of constants; with --ac-pj.",
        rich_help_panel=_ENERGY,
    ),
]
AcPj = Annotated[
    float | None,
    typer.Option(
        help="Picojoules of an addition, instead of a set of constants; with --mac-pj.",
        rich_help_panel=_ENERGY,
    ),
]
Best = Annotated[
    Literal["energy"] | None,
    typer.Option(
        metavar="WHAT",
        help="energy: find the step that costs least of those that lose no more than --max-drop, "
        "on training images that were held out; --max-drop then bounds the loss at that step.",
        rich_help_panel=_ENERGY,
    ),
]
