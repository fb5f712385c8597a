"""Searches the constants of a recipe (Optuna's TPE) by what is held out of training; the way in.

Trials are kept in a journal of JSON lines as they end, so that a search goes on where it was
stopped. No test sample is looked at.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from calibrate.tuning import load_optuna
from convsnn.errors import ConfigError, LoadError, TrainingError
from convsnn.report.files import require_writable, write_text
from convsnn.report.page.assemble import packages, versions
from convsnn.report.sheets import FRACTION, Sheet, flat
from convsnn.report.wording import counted, percent, significant
from convsnn.train import LOSSES
from convsnn.train.direct import Judged, groups, settle
from convsnn.train.loop import train
from convsnn.workflows.running.device import pick_device
from convsnn.workflows.running.launched import require_alone
from convsnn.workflows.running.result import Result
from convsnn.workflows.running.voice import command_line, note
from convsnn.workflows.train.course import Course, open_course, untrained
from zoo.recipes.space import space_of, with_constants
from zoo.recipes.spiking import SpikingRecipe, find_recipe

JOURNAL, DOCUMENT, BEST = "trials.log", "search.json", "best.json"
_STUDY = "constants"
_SEEDS = 2**32


@dataclass(frozen=True, repr=False)
class Searched(Result):
    """All trials in `document`; `best.json` in `folder` is a recipe that `train` takes."""

    folder: Path

    def render(self, *, width: int) -> RenderableType:
        """See `Result`."""
        del width
        table = Table(box=None, pad_edge=False, show_header=False)
        for name, value in self.document["best"]["values"].items():
            shown = str(value).lower() if isinstance(value, bool) else significant(value)
            table.add_row(name, shown)
        return Group(Text(self.about()), table)

    def sheets(self) -> Sequence[Sheet]:
        """See `Tabled`."""
        trials = self.document["trials"]
        columns = {"trial": "", "held_out": FRACTION}
        columns |= {f"values.{name}": "" for trial in trials for name in trial["values"]}
        rows = [{"trial": number, **flat(trial)} for number, trial in enumerate(trials, start=1)]
        return [Sheet("trials", columns, rows)]

    def about(self) -> str:
        """See `Result`."""
        best = self.document["best"]
        count = counted(len(self.document["trials"]), "trial")
        return f"{percent(best['held_out'])} of what is held out, best of {count}, in {self.folder}"


def search(
    recipe: str,
    *,
    trials: int,
    device: str = "auto",
    folder: Path | None = None,
    resume: bool = False,
    force: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> Searched:
    """Search the constants of `recipe` in so many trials, those of earlier calls included.

    Raises ConfigError where the recipe has none to search or `folder` (default: NAME-search) holds
    something and neither `resume` nor `force` is asked for, LoadError where what is there belongs
    to another search, MissingExtraError without optuna, TrainingError where no trial could be run.
    """
    require_alone()
    if trials < 1:
        raise ConfigError(f"--trials must be at least 1, not {trials}")
    chosen = find_recipe(recipe).override(changes or {})
    space = space_of(chosen)
    optuna = load_optuna()
    folder = folder or Path(f"{Path(recipe).stem}-search")
    require_writable(folder)
    if folder.exists() and any(folder.iterdir()) and not resume:
        if not force or not (folder / JOURNAL).exists():
            raise ConfigError(
                f"'{folder}' is not empty", hint="go on with the search in it with --resume"
            )
        (folder / JOURNAL).unlink()
    course, target = open_course(recipe, chosen), pick_device(device)
    folder.mkdir(parents=True, exist_ok=True)
    study = _study(optuna, folder / JOURNAL, _belongs(chosen))
    while (done := len(_finished(optuna, study))) < trials:
        study.sampler = optuna.samplers.TPESampler(seed=(chosen.seed + done) % _SEEDS)
        trial = study.ask()
        values = {
            name: trial.suggest_categorical(name, [False, True])
            if known is None
            else trial.suggest_float(name, known.low, known.high, log=known.log)
            for name, known in space.items()
        }
        score = _score(course, with_constants(chosen, values), target)
        study.tell(trial, score)
        note(f"trial {done + 1}/{trials}: held out {percent(score)}")
    return _written(optuna, study, chosen, recipe, folder)


def _belongs(recipe: SpikingRecipe) -> str:
    """What trials of one search have in common."""
    return json.dumps(recipe.to_json(), sort_keys=True)


def _study(optuna: Any, journal: Path, belongs: str) -> Any:
    try:
        backend = optuna.storages.journal.JournalFileBackend(str(journal))
        study = optuna.create_study(
            study_name=_STUDY, direction="maximize", load_if_exists=True,
            storage=optuna.storages.JournalStorage(backend),
        )  # fmt: skip
    except (ValueError, KeyError, OSError, TypeError) as error:
        raise LoadError(
            f"'{journal}' is damaged: {error}", hint="start over with --force"
        ) from None
    known = study.user_attrs.get("recipe")
    if known not in (None, belongs):
        raise LoadError(
            f"'{journal}' belongs to another recipe, or to other values of it",
            hint="search into another directory, or start over with --force",
        )
    study.set_user_attr("recipe", belongs)
    return study


def _finished(optuna: Any, study: Any) -> list[Any]:
    found: list[Any] = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    return found


def _score(course: Course, recipe: SpikingRecipe, device: torch.device) -> float:
    """The part of what is held out that is right at the end; 0 where training broke down."""
    made = untrained(replace(course, recipe=recipe), seed=recipe.seed)
    try:
        state = train(
            made.network, course.images, Judged(LOSSES.create(recipe.loss)), recipe.settings(),
            groups=groups(made.network, threshold_rate=recipe.threshold_rate), device=device,
            after=lambda: settle(made.network, limit=recipe.weight_limit),
        )  # fmt: skip
    except TrainingError as error:
        note(f"{error}")
        return 0.0
    return state.epochs()[-1].held_out or 0.0


def _written(optuna: Any, study: Any, chosen: SpikingRecipe, name: str, folder: Path) -> Searched:
    rows = [{"held_out": trial.value, "values": trial.params} for trial in _finished(optuna, study)]
    best = max(rows, key=lambda row: float(row["held_out"]))
    if not best["held_out"]:
        raise TrainingError("no trial learned anything", hint="give more --trials, or more epochs")
    found = with_constants(chosen, best["values"])
    document = {
        "schema": 1,
        "convsnn": versions()["convsnn"],
        "command": command_line(),
        "name": name,
        "recipe": chosen.to_json(),
        "best": best,
        "trials": rows,
        "versions": packages(),
    }
    written = Searched(document, folder)
    write_text(folder / DOCUMENT, written.to_json())
    write_text(folder / BEST, json.dumps(found.to_json(), indent=2) + "\n")
    return written
