"""`convsnn tune`: fits a neuron's constants to a network, on training images only."""

from pathlib import Path
from typing import Annotated

import typer

from convsnn.commands import groups, options, printing
from convsnn.commands.terminal import messages
from convsnn.workflows.tune import tune as search


@groups.grouped
def tune(
    model: options.Model,
    *,
    data: options.Data = None,
    neuron: Annotated[
        str, typer.Option(help="Where to start; reference is searched where it is given.")
    ] = "msat:reference=2",
    calibrate: Annotated[
        str, typer.Option(help="Stages that set thresholds, as for convert.")
    ] = "max",
    timesteps: Annotated[int, typer.Option(help="Number of time steps.")] = 128,
    trials: Annotated[
        int,
        typer.Option(metavar=options.NUMBER, help="Settings to try, earlier ones included.", min=1),
    ] = 50,
    minutes: Annotated[
        float | None, typer.Option(help="Begin no trial after so many minutes.")
    ] = None,
    network: groups.Network,
    calibration_samples: Annotated[
        int,
        typer.Option(metavar=options.NUMBER, help="Training images to set thresholds on.", min=1),
    ] = 1000,
    trial_samples: Annotated[
        int,
        typer.Option(
            metavar=options.NUMBER,
            help="Other training images to score on; as many again judge the best.",
            min=1,
        ),
    ] = 100,
    running: groups.Running,
    reading: groups.Reading,
    frames: groups.Frames,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Result directory [MODEL-tune]; gone on with."),
    ] = None,
    verify: options.Verify = True,
    as_json: options.Json = False,
    csv: options.Csv = None,
    force: Annotated[
        bool, typer.Option("--force", help="Start anew in the directory of an earlier search.")
    ] = False,
) -> int:
    """Fit the constants of an adaptive neuron to a network and compare it with fixed thresholds.

    No test image and no label is used. The same command again goes on where it stopped.
    """
    subject = groups.opening(
        model, data, network=network, reading=reading, running=running,
        calibration_samples=calibration_samples, verify=verify, frames=frames,
    )  # fmt: skip
    found = search(
        subject, neuron=neuron, calibrate=calibrate, timesteps=timesteps, trials=trials,
        minutes=minutes, trial_samples=trial_samples, folder=output, force=force,
    )  # fmt: skip
    printing.show_result(found, as_json=as_json, csv=csv)
    if not as_json:
        print(f"\nTo use it:\n  {found.options}")  # unbroken
    messages().print(f"results are in {found.folder}/", markup=False)
    return 0
