"""`convsnn convert`: a trained network in, a calibrated spiking network and a report out."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from calibrate.defaults import default_stages
from convsnn.commands import options, printing
from convsnn.commands.terminal import messages
from convsnn.errors import ConfigError
from convsnn.readouts import READOUTS, delayed
from convsnn.report.files import ResultDirectory
from convsnn.spiking.population import site_neurons
from convsnn.workflows.evaluate import early_exit as exiting
from convsnn.workflows.evaluate import score as scoring
from convsnn.workflows.running.precision import Wanted
from convsnn.workflows.subject.job import Method, open_job
from convsnn.workflows.subject.source import find_source


def convert(
    model: options.Model,
    *,
    data: options.Data = None,
    timesteps: Annotated[int, typer.Option(help="Number of time steps.")] = 32,
    calibrate: Annotated[
        str | None,
        typer.Option(
            help="Stages like percentile:q=99.9, chained with + (default: mse+weights "
            "for if, mse for signed, mse:steps=2 for burst, max for msat, percentile+tsc for tsc)."
        ),
    ] = None,
    neuron: Annotated[str, typer.Option(help="Neuron model, like if:reset=zero.")] = "if",
    encoder: Annotated[
        str, typer.Option(help="Input encoder: direct, poisson, or tsc.")
    ] = "direct",
    max_pool: Annotated[
        Literal["exact", "current"],
        typer.Option(
            metavar="MODE",
            help="exact: running sums, graded output; current: before the neuron, cheaper, biased.",
        ),
    ] = "exact",
    readout: Annotated[
        str,
        typer.Option(
            help="mean: all steps count alike; rising: step t counts t times; auto: whichever of "
            "them is closer to the original on calibration images; switch: for tsc."
        ),
    ] = "auto",
    readout_delay: Annotated[
        int,
        typer.Option(
            metavar=options.NUMBER,
            help="First steps that the readout leaves out; they count in T.",
            min=0,
        ),
    ] = 0,
    schedule: options.Schedule = "steps",
    weights: options.Weights = None,
    input_shape: options.InputShape = None,
    samples: options.Samples = None,
    calibration_samples: options.CalibrationSamples = 1000,
    batch_size: options.BatchSize = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    precision: options.Precision = "float32",
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
        Path | None, typer.Option("-o", "--output", help="Result directory [MODEL-snn].")
    ] = None,
    verify: options.Verify = True,
    as_json: options.Json = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier result.")] = False,
) -> int:
    """Convert a trained ReLU network into a spiking network and report what it cost."""
    if timesteps < 1:
        raise ConfigError(f"--timesteps must be at least 1, not {timesteps}")
    stages = calibrate or default_stages(neuron, schedule)
    reading = delayed(readout, readout_delay)
    method = Method(stages, neuron, encoder, max_pool, reading, schedule=schedule)
    late = READOUTS.create(method.readout).delay
    if late >= timesteps:
        raise ConfigError(
            f"a readout delay of {late} leaves nothing of {timesteps} time steps",
            hint="use fewer than --timesteps",
        )
    target = scoring.pick_device(device)
    source = find_source(model, weights=weights, input_shape=options.shape(input_shape))
    folder = output or Path(f"{source.name}-snn")
    ResultDirectory(folder, force=force).check()
    job = open_job(
        source,
        data=data,
        preprocessing=options.preprocessing(
            scale=scale, mean=mean, std=std, resize=resize, layout=input_layout
        ),
        calibration_samples=calibration_samples,
        batch_size=batch_size,
        seed=seed,
        device=target,
        verify=verify,
        gate=max_drop,
        wanted=Wanted(precision, weight_bits, compile),
        task=task,
    )
    early = exiting.plan_exits(
        early_exit,
        exit_data,
        graph=job.graph,
        steps=timesteps,
        data=job.data,
        preprocessing=job.preprocessing,
        calibration=lambda: job.images,
        task=task,
    )
    site_neurons(neuron, job.graph)  # layers that these neurons cannot stand for, all at once
    note = messages()
    count = len(job.images.indices)
    note.print(f"calibrating on {count} training images: {stages}", markup=False)
    net = job.convert(method, steps=timesteps, samples=samples)
    report = job.score(net, steps=timesteps, samples=samples, also=early)
    notes = scoring.write_results(folder, report, force=force, net=net.to(device="cpu"))
    printing.show(report, as_json=as_json)
    for line in [*notes, f"results are in {folder}/ (open report.html)"]:
        note.print(line, markup=False)
    return scoring.gate(report, max_drop)
