"""`convsnn convert`: a trained network in, a calibrated spiking network and a report out."""

from pathlib import Path
from typing import Annotated

import typer

from convsnn.commands import groups, options, printing
from convsnn.commands.terminal import messages
from convsnn.report.files import ResultDirectory
from convsnn.workflows.convert.conversion import chosen_method, convert_and_score
from convsnn.workflows.evaluate.score import gate


@groups.grouped
def convert(
    model: options.Model,
    *,
    data: options.Data = None,
    timesteps: Annotated[int, typer.Option(help="Number of time steps.")] = 32,
    neurons: groups.Neurons,
    network: groups.Network,
    samples: options.Samples = None,
    calibration_samples: options.CalibrationSamples = 1000,
    running: groups.Running,
    computing: groups.Computing,
    reading: groups.Reading,
    scoring: groups.Scoring,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Result directory [MODEL-snn].")
    ] = None,
    verify: options.Verify = True,
    as_json: options.Json = False,
    force: options.Force = False,
) -> int:
    """Convert a trained ReLU network into a spiking network and report what it cost."""
    how = chosen_method(timesteps, **vars(neurons))
    opening = groups.opening(
        model, data, network=network, reading=reading, running=running, computing=computing,
        calibration_samples=calibration_samples, verify=verify, task=scoring.task,
        gate=scoring.max_drop,
    )  # fmt: skip
    folder = output or Path(f"{opening.source.name}-snn")
    ResultDirectory(folder, force=force).check()
    found = convert_and_score(
        opening, how, timesteps, samples=samples, early_exit=scoring.early_exit,
        exit_data=scoring.exit_data,
    )  # fmt: skip
    found.write(folder, force=force)
    printing.show(dict(found.document), as_json=as_json)
    messages().print(f"results are in {folder}/ (open report.html)", markup=False)
    return gate(dict(found.document), scoring.max_drop)
