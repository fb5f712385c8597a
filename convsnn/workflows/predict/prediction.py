"""Images shown to a spiking network: what it answers, how surely, and when the answer settled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Group, RenderableType
from torch import Tensor

from convsnn.errors import ConfigError
from convsnn.measure.fitting import fitting_batch, in_pieces
from convsnn.measure.margins import Margins
from convsnn.measure.sharing import Alone
from convsnn.report.page.assemble import versions
from convsnn.report.sheets import Sheet
from convsnn.simulate import Program
from convsnn.spiking.network import Spiking
from convsnn.workflows.evaluate.early_exit import Exiting
from convsnn.workflows.predict.answers import Answering, Row
from convsnn.workflows.predict.asked import (
    Held,
    Shown,
    answering_of,
    images_of,
    opened,
    promise_of,
    steps_of,
)
from convsnn.workflows.predict.shown import prediction_sheets, table
from convsnn.workflows.running.batch import note_smaller_batch
from convsnn.workflows.running.device import pick_device
from convsnn.workflows.running.precision import as_before
from convsnn.workflows.running.result import Result
from convsnn.workflows.running.voice import command_line, progress, warn
from convsnn.workflows.subject.given import Images

SCHEMA = 1


@dataclass(frozen=True, repr=False)
class Predictions(Result):
    """What `convsnn predict --json` prints is `document`; see `convsnn.commands.predict`."""

    @property
    def answers(self) -> list[Any]:
        """The answer to each image: the number of its class, or whatever the task decides."""
        return [row["answer"] for row in self.document["predictions"]]

    @property
    def labels(self) -> list[Any]:
        """The names of the answers; None where they are not known."""
        return [row.get("label") for row in self.document["predictions"]]

    def about(self) -> str:
        """How many images were shown, and for how long."""
        return f"{len(self.answers)} image(s), {self.document['timesteps']} steps"

    def sheets(self) -> Sequence[Sheet]:
        """See `Tabled`."""
        return prediction_sheets(self.document)

    def render(self, *, width: int) -> RenderableType:
        """The answers, one image a line."""
        del width  # it folds
        return Group(*table(self.document))


def predict(
    network: Spiking | Held | str | Path,
    images: str | Path | Sequence[str | Path] | Images,
    *,
    top: int = 5,
    labels: str | Path | Sequence[str] | None = None,
    timesteps: int | None = None,
    early_exit: float | None = None,
    exit_data: str | None = None,
    data: Images | str | None = None,
    task: str | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    preprocessing: Mapping[str, Any] | None = None,
) -> Predictions:
    """What a network answers to `images`: files and folders, brought to its input as the data it
    was made for, or values as for `convsnn.convert`, as the network takes them.

    `top` is how many classes are given for each image; `labels` are the names of the classes, or a
    file with one in each line; `early_exit` a percentage, whose margins are fitted on calibration
    images, those of `data` in the place of the network's own, or on `exit_data`. What else is None
    is as when the network was made. Raises ConfigError, LoadError and SimulationError.
    """
    if top < 1:
        raise ConfigError(f"top must be at least 1, not {top}")
    net, place = opened(network)
    steps, target = steps_of(net, timesteps), pick_device(device)
    answering = answering_of(net, task, labels, top)
    shown = images_of(net, images, preprocessing or {})
    size = batch_size or fitting_batch(net.graph, target)
    promise = promise_of(
        net, place, data, preprocessing or {}, steps=steps, percent=early_exit,
        exit_data=exit_data, task=answering.task.name, size=size, device=target,
    )  # fmt: skip
    engine = as_before(net.provenance, precision=None, weight_bits=None, compile=None).engine(
        net.graph, steps=steps, samples=len(shown.names), device=target
    )
    program = Program(net.to(device=target), engine)
    margins: Margins | None = None
    if promise is not None:
        margins = promise.margins(program, steps=steps, share=Alone())
    rows = _run(
        program, shown, answering, steps=steps, margins=margins, size=size, device=target
    )  # fmt: skip
    named = [{"image": name, **row} for name, row in zip(shown.names, rows, strict=True)]
    return Predictions(
        {
            "schema": SCHEMA,
            "convsnn": versions()["convsnn"],
            "command": command_line(),
            "model": net.provenance.get("model"),
            "timesteps": steps,
            "task": answering.task.name,
            "labels": answering.labels,
            "early_exit": _exits(promise, margins, rows),
            "predictions": named,
        }
    )


def _run(
    program: Program,
    shown: Shown,
    answering: Answering,
    *,
    steps: int,
    margins: Margins | None,
    size: int,
    device: torch.device,
) -> list[Row]:
    """The answers to all images."""
    rows: list[Row] = []

    def answer(x: Tensor, _: Tensor | None) -> list[Row]:
        return answering(program, x.to(device), steps, margins, first=len(rows))

    with progress("predicting", len(shown.names)) as advance:
        shrunk = note_smaller_batch
        for found in in_pieces(shown.batches(size), answer, shrunk=shrunk):
            rows += found
            advance(len(rows))
    return rows


def _exits(
    promise: Exiting | None, margins: Margins | None, rows: Sequence[Row]
) -> dict[str, Any] | None:
    """What early exit promised and saved, for the document."""
    if promise is None or margins is None:
        return None
    if margins.needed[0] == float("inf"):
        warn("no margins keep the promise of early exit: every image ran all time steps")
    return {
        "promised": promise.promised,
        "fitted_on": promise.fitted_on(),
        "mean_steps": sum(row["steps"] for row in rows) / len(rows),
    }
