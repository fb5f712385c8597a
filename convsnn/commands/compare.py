"""`convsnn compare`: one network, every method of conversion, one table and one page."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from calibrate.methods import choose_methods
from convsnn.commands import options, scoring
from convsnn.commands.comparing import Bench, open_bench
from convsnn.commands.computing import Wanted
from convsnn.commands.job import open_job
from convsnn.commands.source import find_source
from convsnn.errors import ConfigError, MissingExtraError
from convsnn.report.comparison import Comparison, render_comparison
from convsnn.report.document import to_json
from convsnn.report.files import write_text

WIDTH = 100


def compare(
    model: options.Model,
    *,
    data: options.Data = None,
    methods: Annotated[
        str, typer.Option(help="all, or names joined by commas (convsnn list methods).")
    ] = "all",
    timesteps: Annotated[int, typer.Option(help="Number of time steps.")] = 128,
    budget: Annotated[
        float | None,
        typer.Option(help="Minutes; no method is begun that would likely end after them."),
    ] = None,
    weights: options.Weights = None,
    input_shape: options.InputShape = None,
    samples: options.Samples = None,
    calibration_samples: Annotated[
        int, typer.Option(help="Training images to calibrate on.", min=1)
    ] = 1000,
    batch_size: options.BatchSize = None,
    seed: Annotated[int, typer.Option(help="Chooses samples and random spikes.", min=0)] = 0,
    device: options.Device = "auto",
    precision: options.Precision = "float32",
    weight_bits: options.WeightBits = None,
    compile: options.Compile = None,
    scale: options.Scale = None,
    mean: options.Mean = None,
    std: options.Std = None,
    resize: options.Resize = None,
    input_layout: options.InputLayout = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Result directory [MODEL-compare]; gone on with."),
    ] = None,
    verify: options.Verify = True,
    as_json: options.Json = False,
    force: Annotated[
        bool, typer.Option("--force", help="Make results of other settings anew.")
    ] = False,
) -> int:
    """Convert by every method and set the results side by side; exit 1 where a method failed.

    An interrupted comparison goes on where it stopped: the same command again takes every
    finished method from the result directory.
    """
    if timesteps < 1:
        raise ConfigError(f"--timesteps must be at least 1, not {timesteps}")
    if budget is not None and not 0 <= budget < float("inf"):
        raise ConfigError(f"--budget is a number of minutes of at least 0, not {budget}")
    chosen = choose_methods(methods)
    target = scoring.pick_device(device)
    source = find_source(model, weights=weights, input_shape=input_shape)
    folder = output or Path(f"{source.name}-compare")
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
        wanted=Wanted(precision, weight_bits, compile),
    )
    bench = open_bench(job, folder, steps=timesteps, samples=samples, force=force)
    comparison = bench.run(chosen, budget=None if budget is None else 60 * budget)
    notes = _write(bench, comparison)
    if as_json:
        print(to_json(comparison), end="")
    else:
        console = Console()
        if not console.is_terminal:  # a file has room for the columns
            console = Console(width=max(console.width, WIDTH))
        console.print(render_comparison(comparison))
    for line in [*notes, f"results are in {folder}/"]:
        Console(stderr=True, highlight=False).print(line, markup=False)
    return 1 if comparison["failed"] else 0


def _write(bench: Bench, comparison: Comparison) -> list[str]:
    """Write comparison.json and comparison.html; returns notes for the user."""
    write_text(bench.folder / "comparison.json", to_json(comparison))
    try:
        from convsnn.report.comparison_page import render_comparison_page

        page = render_comparison_page(comparison)
    except MissingExtraError as error:
        return [f"comparison.html was not written: {error}; {error.hint}"]
    write_text(bench.folder / "comparison.html", page)
    return []
