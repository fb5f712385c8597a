"""`convsnn compare`: one network, every method of conversion and training, one table, one page."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from calibrate.methods import choose_methods
from convsnn.commands import options
from convsnn.commands.terminal import messages
from convsnn.errors import ConfigError, MissingExtraError
from convsnn.report.comparison.document import WIDTH, Comparison, render_comparison
from convsnn.report.document import to_json
from convsnn.report.files import write_text
from convsnn.workflows.compare.added import open_added
from convsnn.workflows.compare.finetuned import plan_finetuning
from convsnn.workflows.compare.rows import Conversion, Row
from convsnn.workflows.compare.runs import open_bench
from convsnn.workflows.evaluate import score as scoring
from convsnn.workflows.running.precision import Wanted
from convsnn.workflows.running.resume import check, early_settings
from convsnn.workflows.subject.job import open_job
from convsnn.workflows.subject.source import find_source
from convsnn.workflows.train.lessons import require_labels

_TRAINED = "Rows that are trained"


def compare(
    model: options.Model,
    *,
    data: options.Data = None,
    methods: Annotated[
        str, typer.Option(help="all, none, or names joined by commas (convsnn list methods).")
    ] = "all",
    timesteps: Annotated[int, typer.Option(help="Number of time steps.")] = 128,
    budget: Annotated[
        float | None,
        typer.Option(help="Minutes; no method is begun that would likely end after them."),
    ] = None,
    finetune: Annotated[
        str | None,
        typer.Option(
            help="Also train: all, or of lt-snn,ltmd,dsr,hybrid,fixed.", rich_help_panel=_TRAINED
        ),
    ] = None,
    finetune_steps: Annotated[
        int | None, typer.Option(help="Time steps to train for [4].", rich_help_panel=_TRAINED)
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Of each training (default: 20).", rich_help_panel=_TRAINED)
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Train each no longer than this.", rich_help_panel=_TRAINED)
    ] = None,
    training_samples: Annotated[
        int | None,
        typer.Option(help="Training images (default: all).", min=2, rich_help_panel=_TRAINED),
    ] = None,
    add: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="A result of convert, finetune or train as a row of its own; repeatable.",
            rich_help_panel=_TRAINED,
        ),
    ] = None,
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
    """Set methods of conversion and of training side by side; exit 1 where one failed.

    An interrupted comparison goes on where it stopped: the same command again takes every
    finished row from the result directory, and a training goes on from its last checkpoint.
    """
    if timesteps < 1:
        raise ConfigError(f"--timesteps must be at least 1, not {timesteps}")
    if budget is not None and not 0 <= budget < float("inf"):
        raise ConfigError(f"--budget is a number of minutes of at least 0, not {budget}")
    rows: list[Row] = [Conversion(method, timesteps) for method in choose_methods(methods)]
    trained = plan_finetuning(
        finetune, timesteps=timesteps, seed=seed, steps=finetune_steps, epochs=epochs,
        minutes=minutes, samples=training_samples,
    )  # fmt: skip
    if not (rows or trained or add):
        raise ConfigError("there is nothing to compare", hint="name --methods, --finetune or --add")
    target = scoring.pick_device(device)
    source = find_source(model, weights=weights, input_shape=options.shape(input_shape))
    folder = output or Path(f"{source.name}-compare")
    early = early_settings(source, steps=timesteps, seed=seed)
    check(folder, early, command="compare", force=force)
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
    if trained:
        require_labels(job.data.train)
    rows += [*open_added(add or [], job), *trained]  # what takes longest comes last
    bench = open_bench(job, folder, steps=timesteps, samples=samples, force=force)
    comparison = bench.run(rows, budget=None if budget is None else 60 * budget)
    notes = _write(folder, comparison)
    if as_json:
        print(to_json(comparison), end="")
    else:
        console = Console()
        if not console.is_terminal:  # a file has room for the columns
            console = Console(width=max(console.width, WIDTH))
        console.print(render_comparison(comparison, width=console.width))
    for line in [*notes, f"results are in {folder}/"]:
        messages().print(line, markup=False)
    return 1 if comparison["failed"] else 0


def _write(folder: Path, comparison: Comparison) -> list[str]:
    """Write comparison.json and comparison.html; returns notes for the user."""
    write_text(folder / "comparison.json", to_json(comparison))
    try:
        from convsnn.report.comparison.page import render_comparison_page

        page = render_comparison_page(comparison)
    except MissingExtraError as error:
        return [f"comparison.html was not written: {error}; {error.hint}"]
    write_text(folder / "comparison.html", page)
    return []
