"""A saved spiking network in, one trained for few time steps out: scored, written, gone on with."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import RenderableType

from convsnn.report.document import to_json
from convsnn.report.files import ResultDirectory
from convsnn.report.finetuning.document import finetuning
from convsnn.report.finetuning.page import render_finetuning_page
from convsnn.report.finetuning.sheets import finetuning_sheets
from convsnn.report.page.sheets import report_sheets
from convsnn.report.page.table import render_table, score_in_words
from convsnn.report.sheets import Sheet
from convsnn.spiking.network import Spiking
from convsnn.train.devices import is_main
from convsnn.train.distillation import Tuning
from convsnn.train.finetune import Tuned, require_trainable
from convsnn.train.samples import Augmentation
from convsnn.train.settings import Settings, State
from convsnn.workflows.evaluate import score as scoring
from convsnn.workflows.finetune.asked import Asked
from convsnn.workflows.finetune.network import finetune_network
from convsnn.workflows.running.device import pick_device
from convsnn.workflows.running.launched import Dismissed, launched
from convsnn.workflows.running.processes import leaving_together
from convsnn.workflows.running.result import Result
from convsnn.workflows.running.voice import note
from convsnn.workflows.subject.images import describe_part
from convsnn.workflows.subject.saved import Saved, open_saved
from convsnn.workflows.train.lessons import checkpoints_of, claim
from zoo.data import Preprocessing, choose, data_place

DOCUMENT, PAGE = "finetuning.json", "finetuning.html"


@dataclass(frozen=True, repr=False)
class Finetuned(Result):
    """The trained network, its report in `document`, how training went, where it is written, and
    what stands beside that report in finetuning.json (`convsnn.report.finetuning.document`)."""

    net: Spiking
    state: State
    folder: Path
    course: Mapping[str, Any]

    def render(self, *, width: int) -> RenderableType:
        """See `Result`."""
        del width  # it folds
        return render_table(dict(self.document))

    def sheets(self) -> Sequence[Sheet]:
        """See `Tabled`."""
        return [*report_sheets(dict(self.document)), *finetuning_sheets(self.course)]

    def about(self) -> str:
        """See `Result`."""
        steps = self.document["timesteps"]
        return f"{score_in_words(dict(self.document))}, {steps} time steps, in {self.folder}"

    def to_json(self) -> str:
        """The document as text, a list of numbers a line."""
        return to_json(dict(self.document))


def finetune_saved(
    artifact: str | Path,
    *,
    settings: Settings | None = None,
    tuning: Tuning | None = None,
    data: str | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    augment: Augmentation = "none",
    training_samples: int | None = None,
    samples: int | None = None,
    compile: bool | None = None,
    device: str = "auto",
    gate: float | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
) -> Finetuned:
    """Train the network in `artifact` (see `load_saved`) by `tuning` and `settings`, and score it.

    It learns from the data that it was calibrated on, or from `data` with `preprocessing`, by
    `training_samples` images (None: all) that `augment` changes, and is scored on `samples` test
    images. `gate` is the bound on the loss of accuracy, refused where nothing could be scored.
    `compile` None compiles where that takes less time than it saves. All is written to `folder`
    (default: NAME-METHOD), beside which a run that was stopped is gone on with by `resume`.

    Raises what `open_saved` and `convsnn.train.finetune.finetune` raise, and ConfigError where
    the folder is taken.
    """
    with leaving_together():
        settings, tuning, artifact = settings or Settings(), tuning or Tuning(), Path(artifact)
        pick_device(device)  # one that is not here is said first
        folder = Path(folder or _beside(artifact, tuning.method))
        ResultDirectory(folder, force=force).check()
        checkpoints = checkpoints_of(folder)
        claim(checkpoints, resume=resume, force=force)
        given = preprocessing or {}
        saved = open_saved(artifact, data=data, preprocessing=given, gate=gate)
        asked = Asked(settings, tuning, augment, training_samples, compile, device)
        return finetune_opened(
            saved, asked, folder, origin=_origin(saved, data, given), samples=samples,
            resume=resume, force=force,
        )  # fmt: skip


def finetune_opened(
    saved: Saved,
    asked: Asked,
    folder: Path,
    *,
    origin: Mapping[str, Any],
    samples: int | None,
    resume: bool,
    force: bool,
) -> Finetuned:
    """Train, score before and after, and write to `folder`, which was found free, as were its
    checkpoints; the trained network says `origin` of its data."""
    require_trainable(saved.net)
    target, steps = asked.target, asked.settings.steps
    checkpoints = checkpoints_of(folder)
    before = None
    if launched() == 1 and not resume:
        before = _score(saved.net, saved, steps=steps, samples=samples, device=target)
        note(f"as converted, after {steps} steps: {score_in_words(before)}")
    count = len(choose(saved.data.train, asked.training_samples, seed=asked.settings.seed))
    note(f"training on {count} images for {steps} steps: {asked.tuning.method}")
    tuned = finetune_network(saved.net, saved.data.train, asked, checkpoints=checkpoints)
    if not is_main():  # of several processes one goes on
        raise Dismissed(0)
    if before is None:
        before = _score(saved.net, saved, steps=steps, samples=samples, device=target)
    known = {"augment": asked.augment, **describe_part(saved.data.train, count)}
    found = _finished(
        tuned, saved, origin, folder, target, samples, force=force, before=before, learned=known
    )
    shutil.rmtree(checkpoints, ignore_errors=True)  # nothing is lost: the result is written
    return found


def _beside(artifact: Path, method: str) -> Path:
    """The result directory where none is named: `NAME-METHOD` in the current one."""
    place = artifact if artifact.is_dir() else artifact.parent
    return Path(f"{place.resolve().name}-{method}")


def _origin(saved: Saved, data: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The data that the trained network is scored on again, where the user named others."""
    known = Preprocessing.from_json(saved.origin.get("preprocessing", {}))
    return {
        "data": saved.origin.get("data") if data is None else data,
        **({} if data is None else data_place(data)),
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


def _finished(
    tuned: Tuned,
    saved: Saved,
    origin: Mapping[str, Any],
    folder: Path,
    device: torch.device,
    samples: int | None,
    *,
    force: bool,
    before: Mapping[str, Any],
    learned: Mapping[str, Any],
) -> Finetuned:
    """Score the trained network and write the result, with the page of before and after."""
    net = replace(tuned.net, provenance={**tuned.net.provenance, **origin})
    report = _score(net, saved, steps=net.provenance["timesteps"], samples=samples, device=device)
    course = finetuning(before, report, training=learned, epochs=tuned.state.history)
    more = {DOCUMENT: partial(to_json, course), PAGE: partial(render_finetuning_page, course)}
    for line in scoring.write_results(folder, report, force=force, net=net, more=more):
        note(line)
    return Finetuned(report, net, tuned.state, folder, course)
