"""Trains the recipes of a study one after the other and sets them side by side; the way in."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from convsnn.errors import ConfigError, LoadError, MissingExtraError
from convsnn.report.files import require_writable, write_text
from convsnn.report.page.assemble import packages, versions
from convsnn.report.sheets import Sheet
from convsnn.report.training.sheets import study_sheets
from convsnn.report.training.study import render_study, render_study_page
from convsnn.workflows.running.launched import require_alone
from convsnn.workflows.running.result import Result
from convsnn.workflows.running.voice import command_line, note
from convsnn.workflows.train.training import train
from zoo.recipes.spiking import RECIPES
from zoo.recipes.studies import STUDIES, Study

DOCUMENT, PAGE = "study.json", "study.html"
_ROW = "training.json"


@dataclass(frozen=True, repr=False)
class Studied(Result):
    """The trainings of a study in `document`, by the names of its rows, and where they lie."""

    folder: Path

    def render(self, *, width: int) -> RenderableType:
        """See `Result`."""
        del width
        return render_study(self.document)

    def sheets(self) -> Sequence[Sheet]:
        """See `Tabled`."""
        return study_sheets(self.document)

    def about(self) -> str:
        """See `Result`."""
        return f"{self.document['name']}: {len(self.document['rows'])} trainings, in {self.folder}"


def study(
    name: str,
    *,
    seeds: Sequence[int] | None = None,
    samples: int | None = None,
    device: str = "auto",
    compile: bool | None = None,
    folder: Path | None = None,
    resume: bool = False,
    force: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> Studied:
    """Train every recipe of the study `name`; arguments are those of `train`.

    Each has a directory of its own in `folder` (default: NAME-trained). With `resume` those that
    are finished there are taken as they are. Raises ConfigError for an unknown study or a folder
    that holds something else, and what `train` raises.
    """
    require_alone()
    if name not in STUDIES:
        raise ConfigError(f"unknown study '{name}'")
    chosen = STUDIES[name]
    folder = folder or Path(f"{name}-trained")
    _claim(folder, resume=resume, force=force)
    asked = {"seeds": None if seeds is None else list(seeds), "samples": samples}
    rows: dict[str, Any] = {}
    for label, recipe in chosen.rows.items():
        place = folder / _plain(label)
        wanted = RECIPES[recipe].override(changes or {}).to_json()
        known = _finished(place, recipe, wanted, asked) if resume else None
        if known is None:
            note(f"{label}:")
            left = (place.with_name(f"{place.name}.training")).exists()
            known = dict(
                train(
                    recipe, seeds=seeds, samples=samples, device=device, compile=compile,
                    folder=place, resume=resume and left, force=force or resume, changes=changes,
                ).document
            )  # fmt: skip
        rows[label] = known
    found = Studied(_document(name, chosen, rows), folder)
    write_text(folder / DOCUMENT, found.to_json())
    try:
        write_text(folder / PAGE, render_study_page(found.document))
    except MissingExtraError as error:
        note(f"{PAGE} was not written: {error}; {error.hint}")
    return found


def _claim(folder: Path, *, resume: bool, force: bool) -> None:
    require_writable(folder)
    if folder.exists() and not (resume or force) and any(folder.iterdir()):
        raise ConfigError(
            f"'{folder}' is not empty",
            hint="go on with the study in it with --resume, or start over with --force",
        )


def _plain(label: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", label.lower()).strip("-")


def _finished(
    place: Path, recipe: str, wanted: Mapping[str, Any], asked: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The document of a row that was trained as it is asked for now; None where there is none."""
    path = place / _ROW
    if not path.exists():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        found = dict(document["recipe"])
        runs = [run["seed"] for run in document["runs"]]
        scored = document["data"]["evaluation"]["samples"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise LoadError(f"'{path}' is damaged: {error}", hint="remove it") from None
    seeds = asked["seeds"] or [wanted["seed"]]
    same = {**found, "seed": 0} == {**json.loads(json.dumps(wanted)), "seed": 0}
    samples = asked["samples"]
    if document["name"] != recipe or not same or runs != seeds or (samples or scored) < scored:
        return None
    return dict(document)


def _document(name: str, chosen: Study, rows: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "schema": 1,
        "convsnn": versions()["convsnn"],
        "command": command_line(),
        "name": name,
        "source": chosen.source,
        "rows": dict(rows),
        "versions": packages(),
    }
