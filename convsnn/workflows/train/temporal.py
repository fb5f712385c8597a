"""Trains the temporal-coding task of threshold annealing and draws its figure; the way in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import RenderableType

from convsnn.errors import ConfigError, MissingExtraError
from convsnn.load import load_module
from convsnn.report.files import require_writable, write_text
from convsnn.report.page.assemble import packages, versions
from convsnn.report.sheets import Sheet
from convsnn.report.training.sheets import temporal_sheets
from convsnn.report.training.temporal import render_temporal, render_temporal_page
from convsnn.train.direct import prepare, settle
from convsnn.train.lif import LIF
from convsnn.train.loop import train
from convsnn.train.network import TrainableNetwork
from convsnn.train.settings import Epoch
from convsnn.train.temporal import CASES, STEPS, Case, Pattern, Ramp
from convsnn.workflows.running.launched import require_alone
from convsnn.workflows.running.result import Result
from convsnn.workflows.running.voice import command_line, note
from zoo.models import MODELS

NAME, DOCUMENT, PAGE = "temporal-coding", "temporal.json", "temporal.html"
MODEL = "annealing-temporal"
SHOWN = (0, 100, 200, 400, 600, 1000)  # updates at which the potential is kept


@dataclass(frozen=True, repr=False)
class Coded(Result):
    """The potentials of all cases in `document`, and where they are written."""

    folder: Path

    def render(self, *, width: int) -> RenderableType:
        """See `Result`."""
        del width
        return render_temporal(self.document)

    def sheets(self) -> Sequence[Sheet]:
        """See `Tabled`."""
        return temporal_sheets(self.document)

    def about(self) -> str:
        """See `Result`."""
        return f"{NAME}: {len(self.document['cases'])} networks, in {self.folder}"


def temporal(
    *,
    updates: int = SHOWN[-1],
    seed: int = 0,
    folder: Path | None = None,
    force: bool = False,
) -> Coded:
    """Train every case of the task for so many updates and write their potentials and a page.

    ConfigError for a `folder` (default: temporal-coding-trained) that is not empty, unless `force`.
    """
    require_alone()
    if updates < 1:
        raise ConfigError(f"epochs must be at least 1, not {updates}")
    folder = folder or Path(f"{NAME}-trained")
    require_writable(folder)
    if folder.exists() and not force and any(folder.iterdir()):
        raise ConfigError(f"'{folder}' is not empty", hint="start over with --force")
    cases = {}
    for name, case in CASES.items():
        note(f"{name}: {case.form.threshold}")
        cases[name] = _trained(case, updates=updates, seed=seed)
    document = {
        "schema": 1,
        "convsnn": versions()["convsnn"],
        "command": command_line(),
        "name": NAME,
        "seed": seed,
        "updates": updates,
        "cases": cases,
        "versions": packages(),
    }
    found = Coded(document, folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / DOCUMENT, found.to_json())
    try:
        write_text(folder / PAGE, render_temporal_page(document))
    except MissingExtraError as error:
        note(f"{PAGE} was not written: {error}; {error.hint}")
    return found


def _trained(case: Case, *, updates: int, seed: int) -> Mapping[str, Any]:
    torch.manual_seed(seed)
    entry = MODELS.create(MODEL)
    graph = load_module(entry.module(weights=False), torch.zeros(2, *entry.input_shape))
    network = prepare(graph, case.form).network
    pattern, ramp = Pattern(seed), Ramp(case.end)
    traces = [_trace(network, pattern, 0)]

    def keep(epoch: Epoch) -> None:
        if epoch.number in SHOWN or epoch.number == updates:
            traces.append(_trace(network, pattern, epoch.number))

    state = train(
        network, pattern, ramp, case.settings(updates=updates, seed=seed), every=0,
        device="cpu", progress=keep, after=lambda: settle(network),
    )  # fmt: skip
    return {
        "threshold": case.form.threshold,
        "target": ramp.target().tolist(),
        "loss": [epoch.loss for epoch in state.epochs()],
        "traces": traces,
    }


@torch.no_grad()
def _trace(network: TrainableNetwork, pattern: Pattern, update: int) -> dict[str, Any]:
    """What the output neuron does when it is shown the pattern."""
    potentials = network(pattern.trains(), steps=STEPS)[:, 0, 0]
    theta = float(list(network.thresholds().values())[-1])
    hidden = network.sites[0]
    dead = hidden.last_dead if isinstance(hidden, LIF) else None
    return {
        "update": update,
        "threshold": theta,
        "potential": [round(float(u), 4) for u in potentials],
        "spikes": [step for step, u in enumerate(potentials) if float(u) >= theta],
        "dead_hidden": None if dead is None else float(dead),
    }
