"""`convsnn coverage`: which networks of the libraries, or of a folder, convert, and why not."""

from pathlib import Path
from typing import Annotated

import typer

from convsnn.commands import options, printing
from convsnn.workflows.coverage import coverage as judge
from convsnn.workflows.coverage.judging import LARGE
from convsnn.workflows.coverage.worker import Limits

_LIMITS = "Limits"


def coverage(
    *,
    libraries: Annotated[
        str | None,
        typer.Option(
            help="torchvision,timm or one of them. Default: both, or none beside --folder."
        ),
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="ONNX files in and below it.")] = None,
    match: Annotated[str, typer.Option(help="Only these names: 'resnet*', 'timm:dla*'.")] = "*",
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="Also compare with the original, convert and simulate a few steps."
        ),
    ] = False,
    max_parameters: Annotated[
        int, typer.Option(help="Larger networks are read only.", min=0, rich_help_panel=_LIMITS)
    ] = LARGE,
    timeout: Annotated[
        float, typer.Option(help="Seconds for one network.", min=1, rich_help_panel=_LIMITS)
    ] = 600,
    max_memory: Annotated[
        float, typer.Option(help="GiB for one network.", min=1, rich_help_panel=_LIMITS)
    ] = 8,
    jobs: Annotated[
        int, typer.Option(help="Networks side by side.", min=1, rich_help_panel=_LIMITS)
    ] = 1,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the table to this .md file.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the rows beside --output.")
    ] = False,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Begin no further network after so many; the table says how many are left.", min=0
        ),
    ] = None,
    as_json: options.Json = False,
    csv: options.Csv = None,
) -> int:
    """Say of many networks at once whether they convert; exit 1 where one failed."""
    found = judge(
        libraries=None if libraries is None else options.names(libraries), folder=folder,
        match=match, full=full, max_parameters=max_parameters, jobs=jobs, minutes=minutes,
        limits=Limits(timeout, int(max_memory * 2**30)), output=output, resume=resume,
    )  # fmt: skip
    printing.show_result(found, as_json=as_json, csv=csv)
    return 1 if found.failed else 0
