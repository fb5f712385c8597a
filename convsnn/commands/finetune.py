"""`convsnn finetune`: a converted spiking network in, one trained for few time steps out."""

from pathlib import Path
from typing import Annotated

import typer

from convsnn.commands import groups, options, printing
from convsnn.commands.terminal import messages
from convsnn.commands.training import Objective, Training
from convsnn.workflows.evaluate.score import gate
from convsnn.workflows.finetune import finetune_saved
from convsnn.workflows.finetune.saved import PAGE


@groups.grouped
def finetune(
    artifact: options.Artifact,
    *,
    data: options.Data = None,
    timesteps: Annotated[int, typer.Option(help="Time steps to train for.")] = 4,
    objective: Objective,
    training: Training,
    samples: options.Samples = None,
    seed: Annotated[int, typer.Option(help="Chooses samples and their order.", min=0)] = 0,
    device: options.Device = "auto",
    reading: groups.Reading,
    max_drop: Annotated[
        float | None,
        typer.Option(help="Exit 1 if accuracy at the last step falls by more points than this."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Result directory [ARTIFACT-METHOD].")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was stopped.")
    ] = False,
    as_json: options.Json = False,
    csv: options.Csv = None,
    force: options.Force = False,
) -> int:
    """Train a converted network for few time steps, starting from what conversion gave it."""
    found = finetune_saved(
        artifact, settings=training.settings(steps=timesteps, seed=seed),
        tuning=objective.tuning(), data=data, preprocessing=reading.preprocessing(),
        augment=training.augment, training_samples=training.training_samples, samples=samples,
        compile=training.compile, device=device, gate=max_drop, folder=output, resume=resume,
        force=force,
    )  # fmt: skip
    printing.show_result(found, as_json=as_json, csv=csv)
    messages().print(f"results are in {found.folder}/ (open {PAGE})", markup=False)
    return gate(dict(found.document), max_drop)
