"""`convsnn figures`: the figures 2 to 5 of MSAT, drawn again for any network."""

from pathlib import Path
from typing import Annotated

import typer

from convsnn.commands import groups, options, printing
from convsnn.commands.terminal import messages
from convsnn.workflows.figures import figures as draw


@groups.grouped
def figures(
    model: options.Model,
    *,
    data: options.Data = None,
    timesteps: Annotated[
        int, typer.Option(metavar=options.NUMBER, help="Number of time steps.", min=1)
    ] = 64,
    neuron: Annotated[
        str, typer.Option(help="The constants: msat:set=vgg16 or resnet20 as published.")
    ] = "msat:reference=2",
    confidence: Annotated[
        str, typer.Option(help="The stage that sets spike confidence.")
    ] = "confidence",
    task: options.Task = None,
    network: groups.Network,
    samples: options.Samples = None,
    calibration_samples: options.CalibrationSamples = 1000,
    running: groups.Running,
    reading: groups.Reading,
    frames: groups.Frames,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Directory [MODEL-figures].")
    ] = None,
    verify: options.Verify = True,
    csv: options.Csv = None,
    force: Annotated[
        bool, typer.Option("--force", help="Start anew in the directory of earlier figures.")
    ] = False,
) -> int:
    """Redraw the figures 2 to 5 of MSAT for a network; goes on where it was stopped."""
    subject = groups.opening(
        model, data, network=network, reading=reading, running=running,
        calibration_samples=calibration_samples, verify=verify, frames=frames, task=task,
    )  # fmt: skip
    drawn = draw(
        subject, timesteps=timesteps, neuron=neuron, confidence=confidence, samples=samples,
        folder=output, force=force,
    )  # fmt: skip
    print(drawn.page)
    printing.write_csv(drawn, csv)
    messages().print(f"the drawings are in {drawn.folder}/ (open {drawn.page.name})", markup=False)
    return 0
