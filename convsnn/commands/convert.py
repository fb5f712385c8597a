"""`convsnn convert`: a trained network in, a calibrated spiking network and a report out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from calibrate.defaults import default_stages
from convsnn.commands import options, printing
from convsnn.commands.terminal import messages
from convsnn.errors import ConfigError
from convsnn.load.nir import is_nir
from convsnn.readouts import READOUTS, delayed
from convsnn.report.files import ResultDirectory
from convsnn.spiking.population import site_neurons
from convsnn.workflows.convert.neurons_given import neurons_given
from convsnn.workflows.evaluate import early_exit as exiting
from convsnn.workflows.evaluate import score as scoring
from convsnn.workflows.evaluate.again import evaluate_saved
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
    frames_by: options.FramesBy = None,
    frame_value: options.FrameValue = None,
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
    settings = options.preprocessing(
        scale=scale, mean=mean, std=std, resize=resize, layout=input_layout
    )
    binning = options.binning(frames_by, frame_value)
    if is_nir(model):
        changed = {
            "calibrate": calibrate, "neuron": neuron != "if", "encoder": encoder != "direct",
            "max-pool": max_pool != "exact", "readout": readout != "auto",
            "readout-delay": readout_delay, "weights": weights, "input-shape": input_shape,
            "task": task, "early-exit": early_exit, "exit-data": exit_data,
        }  # fmt: skip
        refuse_choices(model, [name for name, given in changed.items() if given])
        folder = output or Path(f"{Path(model).stem}-snn")
        ResultDirectory(folder, force=force).check()
        given_net = neurons_given(
            model, data, timesteps, preprocessing=settings, binning=binning, seed=seed,
            samples=samples, wanted=Wanted(precision, weight_bits, compile),
        )  # fmt: skip
        scores = evaluate_saved(
            given_net, batch_size=batch_size, device=device, gate=max_drop, place=model
        )
        scores.write(folder, force=force)
        printing.show_result(scores, as_json=as_json)
        messages().print(f"results are in {folder}/ (open report.html)", markup=False)
        return scoring.gate(dict(scores.document), max_drop)
    if binning is not None:
        raise ConfigError(
            "--frames-by and --frame-value are for recordings of events, which a network that is "
            "converted is not shown",
            hint="leave them out",
        )
    stages = calibrate or default_stages(neuron)
    method = Method(stages, neuron, encoder, max_pool, delayed(readout, readout_delay))
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
        preprocessing=settings,
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


def refuse_choices(model: str, given: Sequence[str]) -> None:
    """Raise ConfigError for options that a file which holds its neurons leaves nothing to do."""
    if given:
        named = ", ".join(f"--{name}" for name in given)
        raise ConfigError(
            f"'{model}' holds its neurons already, so {named} would do nothing",
            hint=f"leave out {named}",
        )
