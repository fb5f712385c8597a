"""`convsnn predict`: what a saved spiking network answers to images, and when it was sure.

With `--json` one document (schema 1) is printed:

    schema, convsnn, command, model, timesteps, task
    labels                          names of the classes, null where they are not known
    early_exit {promised, fitted_on {source, split, samples, unseen}, mean_steps}     or null
    predictions [{image, answer, label, top [{class, label, score}], settled, steps}]

`answer` is a class number; of other tasks the numbers of labels (multilabel), a class for every
place (segment), or the outputs themselves, and there is no `top`. `settled` is the first step from
which on the answer stays, with early exit the step at which the image left, null for numbers and
where layers fire one after another; `steps` is how many ran.
"""

from pathlib import Path
from typing import Annotated

import typer

from convsnn.commands import groups, options, printing
from convsnn.workflows.predict import predict as answers_to

WIDE = 120  # characters, in a file


@groups.grouped
def predict(
    artifact: options.Artifact,
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE", help="Image, .npy and .npz files, or folders of them."),
    ],
    *,
    top: Annotated[
        int, typer.Option(metavar=options.NUMBER, help="Classes to show for each image.", min=1)
    ] = 5,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Names of the classes, one in each line (default: those of the data).",
        ),
    ] = None,
    timesteps: options.SavedSteps = None,
    task: options.Task = None,
    reading: groups.Reading,
    early_exit: options.EarlyExit = None,
    exit_data: options.ExitData = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Where the data of the conversion is now; early exit fits its margins on it.",
            rich_help_panel="Early exit",
        ),
    ] = None,
    batch_size: options.BatchSize = None,
    device: options.Device = "auto",
    as_json: options.Json = False,
    csv: options.Csv = None,
) -> int:
    """Show what a saved spiking network answers to images, and at which step that settled."""
    found = answers_to(
        artifact, images, top=top, labels=labels, timesteps=timesteps, task=task,
        early_exit=early_exit, exit_data=exit_data, data=data, batch_size=batch_size,
        device=device, preprocessing=reading.preprocessing(),
    )  # fmt: skip
    printing.show_result(found, as_json=as_json, csv=csv, width=WIDE)
    return 0
