"""`convsnn train`: a recipe in, a network trained as a spiking one from the start out."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from convsnn.commands import options
from convsnn.commands.terminal import messages
from convsnn.errors import ConfigError, ExportError, MissingExtraError
from convsnn.report.document import to_json
from convsnn.report.files import ResultDirectory, write_text
from convsnn.report.training.document import render_training, render_training_page, summarise
from convsnn.train.devices import is_main
from convsnn.workflows.evaluate import score as scoring
from convsnn.workflows.train.course import Course, Run, open_course, train_once
from convsnn.workflows.train.lessons import checkpoints_of, claim, show_epoch
from zoo.recipes.spiking import find_recipe, parsed

LARGEST_SEED = 2**63 - 1


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE", help="A name of `convsnn list recipes`, or a .toml/.json."
        ),
    ],
    *,
    data: Annotated[
        str | None,
        typer.Option(
            help="Labelled data of the shape the network takes: mnist5k, mnist:ROOT, cifar10:ROOT, "
            "npz:TRAIN.npz,TEST.npz and the like, or sequences (see convsnn list datasets). "
            "Default: what the recipe names."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Replace a value of the recipe."),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(help="One run for each, like 0,1,2; gives their mean with an interval."),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Train each seed no longer than this.")
    ] = None,
    compile: Annotated[
        bool | None,
        typer.Option(
            help="Compile the neurons' loops (default: where it takes less time than it saves)."
        ),
    ] = None,
    samples: options.Samples = None,
    device: options.Device = "auto",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Result directory [RECIPE-trained].")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was stopped.")
    ] = False,
    as_json: options.Json = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier result.")] = False,
) -> None:
    """Train a spiking network from the start by a recipe, with thresholds that learn."""
    given: dict[str, Any] = parsed(set_ or [])
    given |= {k: v for k, v in (("data", data), ("minutes", minutes)) if v is not None}
    chosen = find_recipe(recipe).override(given)
    numbers = [chosen.seed] if seeds is None else _seeds(seeds)
    target = scoring.pick_device(device)
    name = Path(recipe).stem if Path(recipe).suffix in (".toml", ".json") else recipe
    folder = output or Path(f"{name}-trained")
    ResultDirectory(folder, force=force).check()
    checkpoints = checkpoints_of(folder)
    course = open_course(name, chosen)
    claim(checkpoints, resume=resume, force=force)
    note = messages()
    runs: list[Run] = []
    for seed in numbers:
        note.print(_intention(course, seed), markup=False)
        runs.append(
            train_once(
                course, seed=seed, folder=checkpoints / f"seed-{seed}", device=target,
                samples=samples, compile=compile,
                progress=lambda epoch: show_epoch(epoch, chosen.epochs),
            )
        )  # fmt: skip
    if not is_main():  # of several processes one goes on
        raise typer.Exit(0)
    document = summarise(
        [run.to_json() for run in runs],
        command=scoring.command_line(),
        name=name,
        recipe=replace(chosen, seed=numbers[0]).to_json(),
        data={
            "training": scoring.describe_part(course.data.train, len(course.images)),
            "evaluation": scoring.describe_part(
                course.data.test, min(samples or len(course.data.test), len(course.data.test))
            ),
        },
    )
    notes = _write(folder, runs, document, force=force)
    if as_json:
        print(to_json(document))
    else:
        Console().print(render_training(document))
    shutil.rmtree(checkpoints, ignore_errors=True)  # nothing is lost: the result is written
    for line in [*notes, f"results are in {folder}/ (open training.html)"]:
        note.print(line, markup=False)


def _seeds(text: str) -> list[int]:
    """`0,1,2` as numbers, each once."""
    parts = [part.strip() for part in text.split(",")]
    whole = all(part.isascii() and part.isdigit() for part in parts)
    found = [int(part) for part in parts] if whole else []
    if not found or len(set(found)) < len(found) or max(found) > LARGEST_SEED:
        raise ConfigError(
            f"--seeds {text} is no list of different whole numbers", hint="write --seeds 0,1,2"
        )
    return found


def _write(folder: Path, runs: list[Run], document: dict[str, Any], *, force: bool) -> list[str]:
    """Write all results; returns notes for the user."""
    notes: list[str] = []
    with ResultDirectory(folder, force=force) as inside:
        for run in runs:
            place = inside if len(runs) == 1 else inside / f"seed-{run.seed}"
            if run.report is not None:
                notes += scoring.write_results(place, run.report, force=False, net=run.net)
                continue
            _copy(run.checkpoint, place)
            if run is runs[0]:
                notes.append(
                    "written is a checkpoint of the training, not a network for convsnn "
                    f"evaluate: {run.reason}"
                )
        write_text(inside / "training.json", to_json(document))
        try:
            write_text(inside / "training.html", render_training_page(document))
        except MissingExtraError as error:
            notes.append(f"training.html was not written: {error}; {error.hint}")
    return list(dict.fromkeys(notes))


def _copy(checkpoint: Path, place: Path) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(checkpoint, place / "checkpoint.safetensors")
    except OSError as error:
        raise ExportError(f"cannot copy '{checkpoint}' to the result: {error.strerror}") from error


def _intention(course: Course, seed: int) -> str:
    recipe = course.recipe
    return (
        f"training {recipe.model} on {len(course.images)} images for {recipe.timesteps} steps, "
        f"seed {seed}: {recipe.threshold}"
    )
