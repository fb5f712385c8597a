"""`convsnn finetune`: a converted spiking network in, one trained for few time steps out."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from convsnn.commands import groups, options, printing
from convsnn.commands.terminal import messages
from convsnn.train.distillation import Tuning
from convsnn.train.samples import Augmentation
from convsnn.train.schedule import COSINE
from convsnn.train.settings import Settings
from convsnn.workflows.evaluate import score as scoring
from convsnn.workflows.finetune import finetune_saved

MethodName = Literal["lt-snn", "ltmd", "dsr", "hybrid", "fixed"]
_TRAINING = "Training"


@groups.grouped
def finetune(
    artifact: Annotated[
        Path,
        typer.Argument(
            metavar="ARTIFACT", help="A network.safetensors of convsnn, or the folder it is in."
        ),
    ],
    *,
    data: options.Data = None,
    timesteps: Annotated[int, typer.Option(help="Time steps to train for.")] = 4,
    method: Annotated[
        MethodName,
        typer.Option(help="How thresholds learn; fixed and hybrid leave them as converted."),
    ] = "lt-snn",
    per: Annotated[
        Literal["channel", "layer"], typer.Option(help="What has one learned threshold.")
    ] = "channel",
    decay: Annotated[float, typer.Option(help="Leak of the neurons; 1 has none.")] = 1.0,
    reset: Annotated[
        Literal["soft", "zero"], typer.Option(help="Reset of the neurons; converted ones are soft.")
    ] = "soft",
    teacher: Annotated[
        bool, typer.Option(help="Learn from the original network's answers.")
    ] = True,
    labels: Annotated[
        float, typer.Option(help="Weight of the labels' cross-entropy beside the teacher.", min=0)
    ] = 0.0,
    hints: Annotated[
        float,
        typer.Option(help="Weight of the original's activations beside its answers.", min=0),
    ] = 1.0,
    epochs: Annotated[int, typer.Option(rich_help_panel=_TRAINING)] = 20,
    minutes: Annotated[
        float | None,
        typer.Option(help="Train no longer than this.", rich_help_panel=_TRAINING),
    ] = None,
    learning_rate: Annotated[float, typer.Option(rich_help_panel=_TRAINING)] = 1e-3,
    learning_rate_schedule: Annotated[
        str,
        typer.Option(
            help="How it falls: cosine, or steps:1/0.1/0.01 for stretches of the same length.",
            rich_help_panel=_TRAINING,
        ),
    ] = COSINE,
    batch_size: Annotated[
        int, typer.Option(help="Images of an update.", min=1, rich_help_panel=_TRAINING)
    ] = 50,
    precision: Annotated[
        Literal["float32", "bfloat16", "float16"],
        typer.Option(help="Of currents in training.", rich_help_panel=_TRAINING),
    ] = "float32",
    augment: Annotated[
        Augmentation,
        typer.Option(help="How images are changed each time.", rich_help_panel=_TRAINING),
    ] = "none",
    compile: Annotated[
        bool | None,
        typer.Option(
            help="Compile the neurons' loops (default: where it takes less time than it saves).",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    training_samples: Annotated[
        int | None,
        typer.Option(help="Training images (default: all).", min=2, rich_help_panel=_TRAINING),
    ] = None,
    held_out: Annotated[
        float,
        typer.Option(help="Part of them to score every epoch on.", rich_help_panel=_TRAINING),
    ] = 0.0,
    patience: Annotated[
        int | None,
        typer.Option(
            help="Stop after so many epochs without a better score.", rich_help_panel=_TRAINING
        ),
    ] = None,
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
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier result.")] = False,
) -> int:
    """Train a converted network for few time steps, starting from what conversion gave it."""
    settings = Settings(
        steps=timesteps, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate,
        schedule=learning_rate_schedule, precision=precision, held_out=held_out,
        patience=patience, minutes=minutes, seed=seed,
    )  # fmt: skip
    tuning = Tuning(
        method=method, per=per, decay=decay, reset="hard" if reset == "zero" else "soft",
        teacher=teacher, hints=hints, labels=labels,
    )  # fmt: skip
    found = finetune_saved(
        artifact, settings=settings, tuning=tuning, data=data,
        preprocessing=reading.preprocessing(), augment=augment, training_samples=training_samples,
        samples=samples, compile=compile, device=device, gate=max_drop, folder=output,
        resume=resume, force=force,
    )  # fmt: skip
    printing.show_result(found, as_json=as_json)
    messages().print(f"results are in {found.folder}/ (open report.html)", markup=False)
    return scoring.gate(dict(found.document), max_drop)
