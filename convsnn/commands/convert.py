"""`convsnn convert`: a trained network in, a calibrated spiking network and a report out."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from calibrate import parse_stages
from convsnn.commands import options, scoring
from convsnn.commands.source import NO_WEIGHTS, Source, find_source
from convsnn.convert import convert as run_conversion
from convsnn.encoders import ENCODERS
from convsnn.errors import ConfigError
from convsnn.load.verify import verify_import
from convsnn.neurons import NEURONS
from convsnn.report.assemble import versions
from convsnn.report.files import ResultDirectory
from zoo.data import choose, open_data

DEFAULT_STAGES = "mse"
EXAMPLES = 4  # images that every exact step is verified on


def convert(
    model: options.Model,
    *,
    data: options.Data = None,
    timesteps: Annotated[int, typer.Option(help="Number of time steps.")] = 32,
    calibrate: Annotated[
        str, typer.Option(help="Stages like percentile:q=99.9,potential=0, chained with +.")
    ] = DEFAULT_STAGES,
    neuron: Annotated[str, typer.Option(help="Neuron model, like if:reset=zero.")] = "if",
    encoder: Annotated[str, typer.Option(help="Input encoder: direct or poisson.")] = "direct",
    max_pool: Annotated[
        Literal["exact", "current"],
        typer.Option(
            help="exact: running sums, graded output; current: before the neuron, cheaper, biased."
        ),
    ] = "exact",
    weights: options.Weights = None,
    input_shape: options.InputShape = None,
    samples: options.Samples = None,
    calibration_samples: Annotated[
        int, typer.Option(help="Training images to calibrate on.", min=1)
    ] = 1000,
    batch_size: options.BatchSize = None,
    seed: Annotated[int, typer.Option(help="Chooses samples and random spikes.", min=0)] = 0,
    device: options.Device = "auto",
    scale: options.Scale = None,
    mean: options.Mean = None,
    std: options.Std = None,
    resize: options.Resize = None,
    input_layout: options.InputLayout = None,
    max_drop: Annotated[
        float | None,
        typer.Option(help="Exit 1 if accuracy at the last step falls by more points than this."),
    ] = None,
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
    stages = parse_stages(calibrate)
    NEURONS.create(neuron, threshold=1.0)
    ENCODERS.create(encoder)
    target = scoring.pick_device(device)
    shape = None if input_shape is None else options.sizes(input_shape, "--input-shape")
    source = find_source(model, weights=weights, input_shape=shape)
    folder = output or Path(f"{source.name}-snn")
    ResultDirectory(folder, force=force).check()
    if not source.trained:
        raise ConfigError(f"'{model}' has no trained weights", hint=NO_WEIGHTS)
    spec = scoring.require_data(data or source.data, model)
    settings = options.override(
        source.preprocessing, scale=scale, mean=mean, std=std, resize=resize, layout=input_layout
    )
    shape = source.input_shape or scoring.natural_shape(spec, settings.resize)
    opened = open_data(spec, input_shape=shape, preprocessing=settings)
    batch = batch_size or scoring.DEFAULT_BATCH
    chosen = choose(opened.train, calibration_samples, seed=seed)
    images = scoring.Images(opened.train, chosen, batch, target)
    example, _ = next(opened.train.batches(EXAMPLES, indices=chosen[:EXAMPLES]))

    note = Console(stderr=True, highlight=False)
    note.print(f"reading {model}", markup=False)
    if source.factory and weights is None:
        note.print(
            "note: no --weights given; the network has those its factory sets", style="yellow"
        )
    graph = source.graph(example)
    graph.require_convertible()
    scoring.require_scores(max_drop, opened, graph)
    if verify:
        verify_import(graph, source.reference(), example)
    origin = _provenance(source, settings.to_json(), spec)
    origin["model"].update(parameters=source.parameters(graph), thresholds=0)
    origin["model"]["input_shape"] = list(shape)
    origin["calibration"] = scoring.describe_part(opened.train, len(chosen))
    origin["method"] = {
        "calibration": calibrate,
        "neuron": neuron,
        "encoder": encoder,
        "max_pool": max_pool,
    }
    origin.update(seed=seed, timesteps=timesteps, batch_size=batch, samples=samples)
    note.print(f"calibrating on {len(chosen)} training images: {calibrate}", markup=False)
    net = run_conversion(
        graph.to(device=target),
        example.to(target),
        images,
        stages,
        steps=timesteps,
        neuron=neuron,
        encoder=encoder,
        max_pool=max_pool,
        seed=seed,
        provenance=origin,
    )
    report = scoring.score(
        net,
        opened,
        steps=timesteps,
        samples=samples,
        seed=seed,
        batch_size=batch,
        device=target,
    )
    code = scoring.gate(report, max_drop)
    notes = scoring.write_results(folder, report, force=force, net=net.to(device="cpu"))
    scoring.show(report, as_json=as_json)
    for line in [*notes, f"results are in {folder}/ (open report.html)"]:
        note.print(line, markup=False)
    return code


def _provenance(source: Source, preprocessing: dict[str, Any], spec: str) -> dict[str, Any]:
    return {
        "command": scoring.command_line(),
        "model": {"name": source.name, "source": source.text, "sha256": source.sha256},
        "data": spec,
        "preprocessing": preprocessing,
        "versions": versions(),
    }
