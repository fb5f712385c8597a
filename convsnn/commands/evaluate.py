"""`convsnn evaluate`: scores a saved spiking network again, to the same numbers."""

from pathlib import Path
from typing import Annotated

import typer

from convsnn.commands import options, printing
from convsnn.commands.terminal import messages
from convsnn.errors import ConfigError
from convsnn.measure.fitting import fitting_batch, free_memory
from convsnn.report.files import ResultDirectory
from convsnn.workflows.evaluate import early_exit as exiting
from convsnn.workflows.evaluate import score as scoring
from convsnn.workflows.running.precision import as_before
from convsnn.workflows.running.processes import beside, processes
from convsnn.workflows.subject.saved import open_saved


def evaluate(
    artifact: Annotated[
        Path,
        typer.Argument(
            metavar="ARTIFACT", help="A network.safetensors of convsnn, or the folder it is in."
        ),
    ],
    *,
    data: options.Data = None,
    timesteps: Annotated[
        int | None, typer.Option(help="Number of time steps (default: those it was made for).")
    ] = None,
    samples: options.Samples = None,
    batch_size: options.BatchSize = None,
    seed: Annotated[
        int | None, typer.Option(help="Chooses samples (default: that of the conversion).", min=0)
    ] = None,
    device: options.Device = "auto",
    precision: options.SavedPrecision = None,
    weight_bits: options.WeightBits = None,
    compile: options.Compile = None,
    scale: options.Scale = None,
    mean: options.Mean = None,
    std: options.Std = None,
    resize: options.Resize = None,
    input_layout: options.InputLayout = None,
    task: options.Task = None,
    max_drop: options.MaxDrop = None,
    early_exit: options.EarlyExit = None,
    exit_data: options.ExitData = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the report to this directory.")
    ] = None,
    as_json: options.Json = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier result.")] = False,
) -> int:
    """Score a saved spiking network on test images, at every time step.

    Started by torchrun, the processes share the images between them.
    """
    with processes() as group:
        if timesteps is not None and timesteps < 1:
            raise ConfigError(f"--timesteps must be at least 1, not {timesteps}")
        target = scoring.pick_device(device)
        if output is not None:
            ResultDirectory(output, force=force).check()
        saved = open_saved(
            artifact,
            data=data,
            preprocessing=options.preprocessing(
                scale=scale, mean=mean, std=std, resize=resize, layout=input_layout
            ),
            gate=max_drop,
            task=task,
        )
        origin = saved.origin
        free = free_memory(target) // beside()
        fits = fitting_batch(saved.net.graph, target, most=origin["batch_size"], free=free)
        early = exiting.plan_exits(
            early_exit,
            exit_data,
            graph=saved.net.graph,
            steps=timesteps or origin["timesteps"],
            data=saved.data,
            preprocessing=saved.preprocessing,
            calibration=lambda: saved.calibration_images(batch_size or fits, target),
            task=task or origin.get("task"),
        )
        report = scoring.score(
            saved.net,
            saved.data,
            steps=timesteps or origin["timesteps"],
            samples=samples or origin.get("samples"),
            seed=origin["seed"] if seed is None else seed,
            batch_size=batch_size or fits,
            device=target,
            also=early,
            wanted=as_before(origin, precision=precision, weight_bits=weight_bits, compile=compile),
            group=group,
            task=task,
        )
        notes = [] if output is None else scoring.write_results(output, report, force=force)
        printing.show(report, as_json=as_json)
        for line in notes:
            messages().print(line, markup=False)
        return scoring.gate(report, max_drop)
