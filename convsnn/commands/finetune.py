"""`convsnn finetune`: a converted spiking network in, one trained for few time steps out."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer

from convsnn.commands import options, printing
from convsnn.commands.terminal import messages
from convsnn.report.files import ResultDirectory
from convsnn.report.page.assemble import versions
from convsnn.report.page.table import score_in_words
from convsnn.spiking.network import Spiking
from convsnn.train.devices import is_main
from convsnn.train.distillation import Tuning
from convsnn.train.finetune import Tuned, require_trainable
from convsnn.train.finetune import finetune as train_spiking
from convsnn.train.samples import Augmentation
from convsnn.train.settings import Settings
from convsnn.workflows.evaluate import score as scoring
from convsnn.workflows.running.processes import launched
from convsnn.workflows.subject.saved import Saved, open_saved
from convsnn.workflows.train.lessons import (
    checkpoints_of,
    claim,
    labelled_images,
    show_epoch,
    worth_compiling,
)
from zoo.data import Preprocessing, data_place

MethodName = Literal["lt-snn", "ltmd", "dsr", "hybrid", "fixed"]
_TRAINING = "Training"


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
    scale: options.Scale = None,
    mean: options.Mean = None,
    std: options.Std = None,
    resize: options.Resize = None,
    input_layout: options.InputLayout = None,
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
        steps=timesteps,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        precision=precision,
        held_out=held_out,
        patience=patience,
        minutes=minutes,
        seed=seed,
    )
    tuning = Tuning(
        method=method, per=per, decay=decay, reset="hard" if reset == "zero" else "soft",
        teacher=teacher, hints=hints, labels=labels,
    )  # fmt: skip
    target = scoring.pick_device(device)
    folder = output or _beside(artifact, method)
    ResultDirectory(folder, force=force).check()
    checkpoints = checkpoints_of(folder)
    claim(checkpoints, resume=resume, force=force)
    given = options.preprocessing(
        scale=scale, mean=mean, std=std, resize=resize, layout=input_layout
    )
    saved = open_saved(artifact, data=data, preprocessing=given, gate=max_drop)
    require_trainable(saved.net)
    images = labelled_images(saved.data.train, training_samples, augment, seed=seed)
    note = messages()
    if launched() == 1 and not resume:
        before = _score(saved.net, saved, steps=timesteps, samples=samples, device=target)
        note.print(f"as converted, after {timesteps} steps: {score_in_words(before)}", markup=False)
    note.print(f"training on {len(images)} images for {timesteps} steps: {method}", markup=False)
    tuned = train_spiking(
        saved.net, images, settings, tuning, folder=checkpoints, device=target,
        progress=lambda epoch: show_epoch(epoch, epochs),
        compile=worth_compiling(saved.net.graph, len(images), settings, wanted=compile),
    )  # fmt: skip
    if not is_main():  # of several processes one goes on
        raise typer.Exit(0)
    report = _report(
        tuned, saved, _origin(saved, data, given), folder, target, samples,
        force=force, as_json=as_json,
    )  # fmt: skip
    shutil.rmtree(checkpoints, ignore_errors=True)  # nothing is lost: the result is written
    note.print(f"results are in {folder}/ (open report.html)", markup=False)
    return scoring.gate(report, max_drop)


def _beside(artifact: Path, method: str) -> Path:
    """The result directory where none is named: `NAME-METHOD` in the current one."""
    place = artifact if artifact.is_dir() else artifact.parent
    return Path(f"{place.resolve().name}-{method}")


def _origin(saved: Saved, data: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The data that the trained network is scored on again, where the user named others."""
    known = Preprocessing.from_json(saved.origin.get("preprocessing", {}))
    named = saved.origin.get("data") if data is None else data
    return {
        "data": named,
        **({} if data is None else data_place(named)),
        "preprocessing": known.override(**given).to_json(),
    }


def _score(
    net: Spiking, saved: Saved, *, steps: int, samples: int | None, device: torch.device
) -> dict[str, Any]:
    """The report on `net` and the data of `saved`, the same images before training and after."""
    about = net.provenance
    return scoring.score(
        net,
        saved.data,
        steps=steps,
        samples=samples or about.get("samples"),
        seed=about["seed"],
        batch_size=about["batch_size"],
        device=device,
    )


def _report(
    tuned: Tuned,
    saved: Saved,
    origin: Mapping[str, Any],
    folder: Path,
    device: torch.device,
    samples: int | None,
    *,
    force: bool,
    as_json: bool,
) -> dict[str, Any]:
    """Score the trained network, write and show the result; returns the report."""
    known = {"command": scoring.command_line(), "versions": versions(), **origin}
    net = replace(tuned.net, provenance={**tuned.net.provenance, **known})
    report = _score(net, saved, steps=net.provenance["timesteps"], samples=samples, device=device)
    notes = scoring.write_results(folder, report, force=force, net=net)
    printing.show(report, as_json=as_json)
    for line in notes:
        messages().print(line, markup=False)
    return report
