"""Options of training a converted network, as a group: see `groups`."""

from dataclasses import dataclass
from typing import Annotated, Literal

import typer

from convsnn.commands.options import NUMBER
from convsnn.train.distillation import Tuning
from convsnn.train.samples import Augmentation
from convsnn.train.schedule import COSINE
from convsnn.train.settings import Settings

_PANEL = "Training"
_RATE = "Learning rate"  # apart: beside --no-compile, 80 columns have no room for its names
MethodName = Literal["lt-snn", "ltmd", "dsr", "hybrid", "fixed"]


@dataclass(frozen=True)
class Objective:
    """What is learned, and from whom."""

    method: Annotated[
        MethodName,
        typer.Option(help="How thresholds learn; fixed and hybrid leave them as converted."),
    ] = "lt-snn"
    per: Annotated[
        Literal["channel", "layer"], typer.Option(help="What has one learned threshold.")
    ] = "channel"
    decay: Annotated[float, typer.Option(help="Leak of the neurons; 1 has none.")] = 1.0
    reset: Annotated[
        Literal["soft", "zero"], typer.Option(help="Reset of the neurons; converted ones are soft.")
    ] = "soft"
    teacher: Annotated[bool, typer.Option(help="Learn from the original network's answers.")] = True
    labels: Annotated[
        float, typer.Option(help="Weight of the labels' cross-entropy beside the teacher.", min=0)
    ] = 0.0
    hints: Annotated[
        float,
        typer.Option(help="Weight of the original's activations beside its answers.", min=0),
    ] = 1.0
    weights_rate: Annotated[
        float,
        typer.Option(
            help="Part of the learning rate for weights, in units of their channel's size; biases, "
            "thresholds and potentials have all of it.",
            min=0,
            max=1,
        ),
    ] = 1.0

    def tuning(self) -> Tuning:
        """As the workflows take it; ConfigError for what cannot be."""
        return Tuning(
            method=self.method, per=self.per, decay=self.decay, teacher=self.teacher,
            reset="hard" if self.reset == "zero" else "soft", hints=self.hints, labels=self.labels,
            weights_rate=self.weights_rate,
        )  # fmt: skip


@dataclass(frozen=True)
class Training:
    """How long and how fast."""

    epochs: Annotated[int, typer.Option(rich_help_panel=_PANEL)] = 20
    minutes: Annotated[
        float | None, typer.Option(help="Train no longer than this.", rich_help_panel=_PANEL)
    ] = None
    learning_rate: Annotated[float, typer.Option(rich_help_panel=_RATE)] = 1e-3
    learning_rate_schedule: Annotated[
        str,
        typer.Option(
            help="How it falls: cosine, or steps:1/0.1/0.01 for stretches of the same length.",
            rich_help_panel=_RATE,
        ),
    ] = COSINE
    batch_size: Annotated[
        int,
        typer.Option(metavar=NUMBER, help="Images of an update.", min=1, rich_help_panel=_PANEL),
    ] = 50
    precision: Annotated[
        Literal["float32", "bfloat16", "float16"],
        typer.Option(
            metavar="TYPE",
            help="Of currents in training: float32, bfloat16 or float16.",
            rich_help_panel=_PANEL,
        ),
    ] = "float32"
    augment: Annotated[
        Augmentation,
        typer.Option(
            metavar="MODE",
            help="How images are changed each time: shift, shift-flip or shift-flip-mix.",
            rich_help_panel=_PANEL,
        ),
    ] = "none"
    compile: Annotated[
        bool | None,
        typer.Option(
            help="Compile the neurons' loops (default: where it takes less time than it saves).",
            rich_help_panel=_PANEL,
        ),
    ] = None
    training_samples: Annotated[
        int | None,
        typer.Option(
            metavar=NUMBER, help="Training images (default: all).", min=2, rich_help_panel=_PANEL
        ),
    ] = None
    held_out: Annotated[
        float, typer.Option(help="Part of them to score every epoch on.", rich_help_panel=_PANEL)
    ] = 0.0
    average: Annotated[
        float,
        typer.Option(
            help="Take the running mean of what is trained, with this decay (0.99, say).",
            min=0,
            rich_help_panel=_PANEL,
        ),
    ] = 0.0
    patience: Annotated[
        int | None,
        typer.Option(
            help="Stop after so many epochs without a better score.", rich_help_panel=_PANEL
        ),
    ] = None

    def settings(self, *, steps: int, seed: int) -> Settings:
        """As the workflows take it; ConfigError for what cannot be."""
        return Settings(
            steps=steps, seed=seed, epochs=self.epochs, minutes=self.minutes,
            learning_rate=self.learning_rate, schedule=self.learning_rate_schedule,
            batch_size=self.batch_size, precision=self.precision, held_out=self.held_out,
            patience=self.patience, average=self.average,
        )  # fmt: skip
