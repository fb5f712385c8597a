"""Trains a network as a spiking one from the start by a recipe, once for every seed; the way in."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from convsnn.errors import ConfigError, ExportError, MissingExtraError
from convsnn.report.document import to_json
from convsnn.report.files import ResultDirectory, write_text
from convsnn.report.sheets import Sheet
from convsnn.report.training.document import (
    render_training,
    render_training_page,
    summarise,
    verdict,
)
from convsnn.report.training.sheets import training_sheets
from convsnn.report.training.words import watched
from convsnn.train.devices import is_main
from convsnn.workflows.evaluate import score as scoring
from convsnn.workflows.running.device import pick_device
from convsnn.workflows.running.launched import Dismissed
from convsnn.workflows.running.processes import leaving_together
from convsnn.workflows.running.result import Result
from convsnn.workflows.running.voice import command_line, note
from convsnn.workflows.subject.images import describe_part
from convsnn.workflows.train.course import Course, open_course
from convsnn.workflows.train.lessons import checkpoints_of, claim, show_epoch
from convsnn.workflows.train.once import Run, train_once
from zoo.recipes.spiking import SpikingRecipe, find_recipe

LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True, repr=False)
class Trained(Result):
    """A run for each seed, all of them together in `document`, and where they are written."""

    runs: tuple[Run, ...]
    folder: Path

    def render(self, *, width: int) -> RenderableType:
        """See `Result`."""
        del width
        return render_training(self.document)

    def sheets(self) -> Sequence[Sheet]:
        """See `Tabled`."""
        return training_sheets(self.document)

    def about(self) -> str:
        """See `Result`."""
        return f"{self.document['name']}: {verdict(self.document)}, in {self.folder}"

    def to_json(self) -> str:
        """The document as text, a list of numbers a line."""
        return to_json(self.document)


def train(
    recipe: str | Path | SpikingRecipe,
    *,
    seeds: Sequence[int] | None = None,
    samples: int | None = None,
    device: str = "auto",
    compile: bool | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> Trained:
    """Train by `recipe`, the name of one, a file of one or one made by hand, and score.

    `changes` replace values of the recipe, like {"data": "mnist5k"}. There is a run for
    each of `seeds` (default: the recipe's one), scored on `samples` test images (None: all).
    `compile` None compiles where that takes less time than it saves. Everything is written to
    `folder` (default: NAME-trained), beside which a run that was stopped is gone on with by
    `resume`. Raises ConfigError for what recipe, seeds or folder cannot be, LoadError for data that
    cannot be read, TrainingError where training fails.
    """
    with leaving_together():
        recipe = str(recipe) if isinstance(recipe, Path) else recipe
        chosen = find_recipe(recipe) if isinstance(recipe, str) else recipe
        chosen = chosen.override(changes or {})
        numbers = [chosen.seed] if seeds is None else _checked(seeds)
        target = pick_device(device)
        name = _name(recipe)
        folder = Path(folder or f"{name}-trained")
        ResultDirectory(folder, force=force).check()
        checkpoints = checkpoints_of(folder)
        course = open_course(name, chosen)
        claim(checkpoints, resume=resume, force=force)
        runs: list[Run] = []
        for seed in numbers:
            note(_intention(course, seed))
            runs.append(
                train_once(
                    course, seed=seed, folder=checkpoints / f"seed-{seed}", device=target,
                    samples=samples, compile=compile,
                    progress=lambda epoch: show_epoch(
                        epoch, chosen.epochs, watched=watched(course.kind)
                    ),
                )
            )  # fmt: skip
        if not is_main():  # of several processes one goes on
            raise Dismissed(0)
        document = _document(course, runs, samples)
        found = Trained(document, tuple(runs), folder)
        for line in _write(found, force=force):
            note(line)
        shutil.rmtree(checkpoints, ignore_errors=True)  # nothing is lost: the result is written
        return found


def _name(recipe: str | SpikingRecipe) -> str:
    if not isinstance(recipe, str):
        return recipe.model
    return Path(recipe).stem if Path(recipe).suffix in (".toml", ".json") else recipe


def _checked(seeds: Sequence[int]) -> list[int]:
    """The seeds; ConfigError for none, for one twice and for what is none."""
    found = list(seeds)
    if (
        not found
        or len(set(found)) < len(found)
        or not 0 <= min(found) <= max(found) <= (LARGEST_SEED)
    ):
        raise ConfigError(
            f"{', '.join(map(str, found)) or 'nothing'} is no list of different whole numbers of "
            "at least 0",
            hint="write --seeds 0,1,2",
        )
    return found


def _intention(course: Course, seed: int) -> str:
    recipe = course.recipe
    return (
        f"training {recipe.model} on {len(course.images)} images for {recipe.timesteps} steps, "
        f"seed {seed}: {recipe.threshold}"
    )


def _document(course: Course, runs: Sequence[Run], samples: int | None) -> dict[str, Any]:
    test = course.data.test
    return summarise(
        [run.to_json() for run in runs],
        command=command_line(),
        name=course.name,
        recipe=replace(course.recipe, seed=runs[0].seed).to_json(),
        data={
            "training": describe_part(course.data.train, len(course.images)),
            "evaluation": describe_part(test, min(samples or len(test), len(test))),
        },
        task=course.kind,
    )


def _write(found: Trained, *, force: bool) -> list[str]:
    """Write all results; returns notes for the user."""
    notes: list[str] = []
    runs = found.runs
    with ResultDirectory(found.folder, force=force) as inside:
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
        write_text(inside / "training.json", found.to_json())
        try:
            write_text(inside / "training.html", render_training_page(found.document))
        except MissingExtraError as error:
            notes.append(f"training.html was not written: {error}; {error.hint}")
    return list(dict.fromkeys(notes))


def _copy(checkpoint: Path, place: Path) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(checkpoint, place / "checkpoint.safetensors")
    except OSError as error:
        raise ExportError(f"cannot copy '{checkpoint}' to the result: {error.strerror}") from error
