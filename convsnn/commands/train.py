"""`convsnn train`: a recipe in, a network trained as a spiking one from the start out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from convsnn.commands import options, printing
from convsnn.commands.terminal import messages
from convsnn.errors import ConfigError
from convsnn.workflows.train import Trained
from convsnn.workflows.train import train as train_by
from convsnn.workflows.train.search import BEST, Searched, search
from convsnn.workflows.train.study import PAGE as STUDY_PAGE
from convsnn.workflows.train.study import Studied, study
from convsnn.workflows.train.temporal import NAME as TEMPORAL
from convsnn.workflows.train.temporal import PAGE as TEMPORAL_PAGE
from convsnn.workflows.train.temporal import Coded, temporal
from zoo.recipes.spiking import parsed
from zoo.recipes.studies import STUDIES


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="A name of `convsnn list recipes` or `studies`, or a .toml/.json.",
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
    trials: Annotated[
        int | None,
        typer.Option(
            help="Search the recipe's constants in so many trials instead, by what is held out."
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
    csv: options.Csv = None,
    force: options.Force = False,
) -> None:
    """Train a spiking network from the start by a recipe, with thresholds that learn."""
    given: dict[str, Any] = parsed(set_ or [])
    given |= {k: v for k, v in (("data", data), ("minutes", minutes)) if v is not None}
    numbers = None if seeds is None else _seeds(seeds)
    found: Trained | Studied | Coded | Searched
    if trials is not None:
        if recipe in {*STUDIES, TEMPORAL} or numbers is not None or samples is not None:
            raise ConfigError(
                "--trials goes with one recipe, and with neither --seeds nor --samples",
                hint="name a recipe, and set its seed with --set seed=1",
            )
        found = search(
            recipe, trials=trials, device=device, folder=output, resume=resume, force=force,
            changes=given,
        )  # fmt: skip
        page = f"{BEST} is a recipe"
    elif recipe == TEMPORAL:
        found, page = (
            _coded(given, numbers, output, resume=resume, force=force),
            f"open {TEMPORAL_PAGE}",
        )
    else:
        known: dict[str, Any] = {
            "seeds": numbers, "samples": samples, "device": device, "compile": compile,
            "folder": output, "resume": resume, "force": force, "changes": given,
        }  # fmt: skip
        is_study = recipe in STUDIES
        found = study(recipe, **known) if is_study else train_by(recipe, **known)
        page = f"open {STUDY_PAGE if is_study else 'training.html'}"
    printing.show_result(found, as_json=as_json, csv=csv)
    messages().print(f"results are in {found.folder}/ ({page})", markup=False)


def _coded(
    given: dict[str, Any],
    seeds: list[int] | None,
    folder: Path | None,
    *,
    resume: bool,
    force: bool,
) -> Coded:
    """The temporal-coding task, which has a number of updates, a seed and nothing else to set."""
    other = sorted(given.keys() - {"epochs"})
    if other or resume or (seeds is not None and len(seeds) > 1):
        what = ", ".join(other) or ("--resume" if resume else "--seeds of several")
        raise ConfigError(f"{TEMPORAL} takes no {what}", hint="set epochs, or one seed")
    updates = given.get("epochs", 1000)
    if type(updates) is not int:
        raise ConfigError(f"epochs is a whole number, not {updates!r}")
    return temporal(updates=updates, seed=seeds[0] if seeds else 0, folder=folder, force=force)


def _seeds(text: str) -> list[int]:
    """`0,1,2` as numbers."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ConfigError(
            f"--seeds {text} is no list of different whole numbers", hint="write --seeds 0,1,2"
        )
    return [int(part) for part in parts]
