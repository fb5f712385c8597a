"""`convsnn convert`: a trained network in, a calibrated spiking network and a report out."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from convsnn.commands import groups, options, printing
from convsnn.commands.terminal import messages
from convsnn.errors import ConfigError
from convsnn.load.nir import is_nir
from convsnn.report.files import ResultDirectory
from convsnn.workflows.convert.conversion import chosen_method, convert_and_score
from convsnn.workflows.convert.neurons_given import neurons_given
from convsnn.workflows.evaluate.again import evaluate_saved
from convsnn.workflows.evaluate.score import gate
from convsnn.workflows.evaluate.scores import Scores
from convsnn.workflows.running.processes import processes

CALIBRATED = 1000  # training images


@groups.grouped
def convert(
    model: options.Model,
    *,
    data: options.Data = None,
    timesteps: Annotated[
        int | None, typer.Option(help="Number of time steps [32, or what a .nir file says].")
    ] = None,
    neurons: groups.Neurons,
    network: groups.Network,
    samples: options.Samples = None,
    calibration_samples: options.CalibrationSamples = CALIBRATED,
    running: groups.Running,
    computing: groups.Computing,
    reading: groups.Reading,
    scoring: groups.Scoring,
    energy: groups.Energy,
    frames: groups.Frames,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Result directory [MODEL-snn].")
    ] = None,
    verify: options.Verify = True,
    as_json: options.Json = False,
    csv: options.Csv = None,
    force: options.Force = False,
) -> int:
    """Convert a trained ReLU network into a spiking network and report what it cost.

    Started by torchrun, the processes share the images between them.
    """
    with processes() as group:
        sets = energy.sets()
        if is_nir(model):
            _refuse_choices(
                model, neurons, network, replace(scoring, max_drop=None, examples=None),
                calibration_samples=calibration_samples != CALIBRATED, no_verify=not verify,
                best=energy.best is not None,
            )  # fmt: skip
            folder = output or Path(f"{Path(model).stem}-snn")
            ResultDirectory(folder, force=force).check()
            net = neurons_given(
                model, data, timesteps, preprocessing=reading.preprocessing(),
                binning=frames.binning(), seed=running.seed,
                samples=samples, wanted=computing.wanted(),
            )  # fmt: skip
            scores = evaluate_saved(
                net, batch_size=running.batch_size, device=running.device, gate=scoring.max_drop,
                place=model, sets=sets, examples=scoring.examples, group=group,
            )  # fmt: skip
            return _finish(
                scores, folder, force=force, as_json=as_json, csv=csv, most=scoring.max_drop
            )
        steps = 32 if timesteps is None else timesteps
        how = chosen_method(steps, **vars(neurons))
        opening = groups.opening(
            model, data, network=network, reading=reading, running=running, computing=computing,
            calibration_samples=calibration_samples, verify=verify, task=scoring.task,
            gate=scoring.max_drop, group=group, frames=frames,
        )  # fmt: skip
        folder = output or Path(f"{opening.source.name}-snn")
        ResultDirectory(folder, force=force).check()
        found = convert_and_score(
            opening, how, steps, samples=samples, early_exit=scoring.early_exit,
            exit_data=scoring.exit_data, sets=sets, best=energy.best, max_drop=scoring.max_drop,
            examples=scoring.examples,
        )  # fmt: skip
        return _finish(found, folder, force=force, as_json=as_json, csv=csv, most=scoring.max_drop)


def _finish(
    scores: Scores,
    folder: Path,
    *,
    force: bool,
    as_json: bool,
    csv: Path | None,
    most: float | None,
) -> int:
    scores.write(folder, force=force)
    printing.show(dict(scores.document), as_json=as_json)
    printing.write_csv(scores, csv)
    messages().print(f"results are in {folder}/ (open report.html)", markup=False)
    return gate(dict(scores.document), most)


def _refuse_choices(model: str, *given: Any, **others: bool) -> None:
    """Raise ConfigError for options that a file which holds its neurons leaves nothing to do: of
    the groups `given` what is not as usual, and those `others` that are true."""
    taken = [
        name
        for group in given
        for name, value in vars(group).items()
        if value != getattr(type(group)(), name)
    ]
    taken += [name for name, chosen in others.items() if chosen]
    named = [f"--{name.replace('_', '-')}" for name in taken]
    if named:
        raise ConfigError(
            f"'{model}' holds its neurons already, so {', '.join(named)} would do nothing",
            hint=f"leave out {', '.join(named)}",
        )
