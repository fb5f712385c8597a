"""Options that say what is simulated in, where, and what is written."""

from pathlib import Path
from typing import Annotated, Literal

import typer

NUMBER = "N"  # short, so that 80 columns have room for the longest option's name
_ENGINE = "Precision and speed"

BatchSize = Annotated[
    int | None,
    typer.Option(
        metavar=NUMBER, help="Images run at once (default: 50, or as many as memory takes).", min=1
    ),
]
Seed = Annotated[
    int, typer.Option(metavar=NUMBER, help="Chooses samples and random spikes.", min=0)
]
SavedSeed = Annotated[
    int | None, typer.Option(help="Chooses samples (default: that of the conversion).", min=0)
]
SavedSteps = Annotated[
    int | None, typer.Option(help="Number of time steps (default: those it was made for).")
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
Schedule = Annotated[
    Literal["steps", "layers"] | None,
    typer.Option(
        metavar="MODE",
        help="steps: neurons fire as their current comes; layers: a layer fires once all of it has "
        "come, which takes longer and loses less. [default: steps; layers with functions in it]",
    ),
]
Spikes = Annotated[
    Literal["binary", "graded", "any"],
    typer.Option(
        metavar="KIND",
        help="The most that is allowed: binary spikes; graded ones and products of two values; "
        "any: functions of accumulated values too, which are analog.",
    ),
]
SavedSchedule = Annotated[
    Literal["steps", "layers"] | None,
    typer.Option(
        metavar="MODE", help="When layers fire, steps or layers (default: as it was made)."
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
Csv = Annotated[
    Path | None,
    typer.Option(
        "--csv",
        metavar="PLACE",
        help="Also write the tables as CSV: all to a directory, or the first to FILE.csv.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace an earlier result.")]
