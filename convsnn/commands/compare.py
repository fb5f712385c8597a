"""`convsnn compare`: one network, every method of conversion and training, one table, one page."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from convsnn.commands import groups, options, printing
from convsnn.commands.terminal import messages
from convsnn.report.comparison.table import WIDTH
from convsnn.train.samples import Augmentation
from convsnn.workflows.compare import PAGE
from convsnn.workflows.compare import compare as compare_methods
from convsnn.workflows.running.processes import processes

_TRAINED = "Rows that are trained"


@groups.grouped
def compare(
    model: options.Model,
    *,
    data: options.Data = None,
    methods: Annotated[
        str, typer.Option(help="all, none, or names joined by commas (convsnn list methods).")
    ] = "all",
    timesteps: Annotated[int, typer.Option(help="Number of time steps.")] = 128,
    budget: Annotated[
        float | None,
        typer.Option(help="Minutes; no method is begun that would likely end after them."),
    ] = None,
    finetune: Annotated[
        str | None,
        typer.Option(
            help="Also train: all, or of lt-snn,ltmd,dsr,hybrid,fixed.", rich_help_panel=_TRAINED
        ),
    ] = None,
    finetune_steps: Annotated[
        int | None, typer.Option(help="Time steps to train for [4].", rich_help_panel=_TRAINED)
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Of each training (default: 20).", rich_help_panel=_TRAINED)
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Train each no longer than this.", rich_help_panel=_TRAINED)
    ] = None,
    training_samples: Annotated[
        int | None,
        typer.Option(help="Training images (default: all).", min=2, rich_help_panel=_TRAINED),
    ] = None,
    augment: Annotated[
        Augmentation | None,
        typer.Option(
            metavar="MODE",
            help="Changed each time: none (default), shift, shift-flip or shift-flip-mix.",
            rich_help_panel=_TRAINED,
        ),
    ] = None,
    add: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="A result of convert, finetune or train as a row of its own; repeatable.",
            rich_help_panel=_TRAINED,
        ),
    ] = None,
    schedule: Annotated[
        Literal["steps", "layers"] | None,
        typer.Option(metavar="MODE", help="Only methods whose layers fire so (default: both)."),
    ] = None,
    fit: options.Fit = None,
    task: options.Task = None,
    network: groups.Network,
    samples: options.Samples = None,
    calibration_samples: options.CalibrationSamples = 1000,
    running: groups.Running,
    computing: groups.Computing,
    reading: groups.Reading,
    frames: groups.Frames,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Result directory [MODEL-compare]; gone on with."),
    ] = None,
    verify: options.Verify = True,
    as_json: options.Json = False,
    csv: options.Csv = None,
    force: Annotated[
        bool, typer.Option("--force", help="Make results of other settings anew.")
    ] = False,
) -> int:
    """Set methods of conversion and of training side by side; exit 1 where one failed.

    An interrupted comparison goes on where it stopped: the same command again takes every
    finished row from the result directory, and a training goes on from its last checkpoint.
    Started by torchrun, the processes share the images of each row between them.
    """
    with processes() as group:
        subject = groups.opening(
            model, data, network=network, reading=reading, running=running, computing=computing,
            calibration_samples=calibration_samples, verify=verify, frames=frames, task=task,
            group=group,
        )  # fmt: skip
        found = compare_methods(
            subject, methods=methods, timesteps=timesteps, samples=samples, budget=budget,
            finetune=finetune, finetune_steps=finetune_steps, epochs=epochs, minutes=minutes,
            training_samples=training_samples, augment=augment, add=add or (), folder=output,
            force=force, schedule=schedule, fit=fit,
        )  # fmt: skip
        printing.show_result(found, as_json=as_json, csv=csv, width=WIDTH)
        messages().print(f"results are in {found.folder}/ (open {PAGE})", markup=False)
        return 1 if found.failed else 0
