"""`convsnn bench`: how fast networks are simulated, beside the packages people use today."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer
from rich.console import Console

from convsnn.commands import options
from convsnn.errors import ConfigError
from convsnn.report.files import require_writable, write_text
from convsnn.simulate import PRECISIONS, fastest
from convsnn.workflows.bench import costs as bench_costs
from convsnn.workflows.bench.peers.installed import installed
from convsnn.workflows.bench.run import Settings, bench_models
from convsnn.workflows.bench.table import render_bench
from convsnn.workflows.evaluate import score as scoring

MODELS = ("zoo:vgg16-cifar10", "zoo:resnet20-cifar10")
WIDTH = 130
_MORE = "What else to measure"


def bench(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL]...",
            help=f"As for convert. Default: {' '.join(MODELS)}, with random weights.",
        ),
    ] = None,
    *,
    against: Annotated[
        str | None,
        typer.Option(help="spikingjelly,sinabs, one of them, or ''. Default: those installed."),
    ] = None,
    timesteps: Annotated[str, typer.Option(help="Numbers of time steps, like 16,64.")] = "64",
    batch_size: Annotated[str, typer.Option(help="Images at once, like 1,64.")] = "64",
    precision: Annotated[
        str, typer.Option(help=f"all, auto, or some of {','.join(PRECISIONS)}.")
    ] = "all",
    repeats: Annotated[int, typer.Option(help="Rounds, in which each runs once.", min=1)] = 5,
    threads: Annotated[
        int | None, typer.Option(help="Threads of every engine (default: torch's choice).", min=1)
    ] = None,
    max_pool: Annotated[
        Literal["current", "exact"],
        typer.Option(help="How ours pools maxima: of currents as peers do, or of running sums."),
    ] = "current",
    device: options.Device = "auto",
    minutes: Annotated[
        float | None, typer.Option(help="Measure with fewer repeats to end within so many.")
    ] = None,
    weights: options.Weights = None,
    input_shape: options.InputShape = None,
    seed: Annotated[int, typer.Option(help="Draws images and weights.", min=0)] = 0,
    peak: Annotated[
        bool, typer.Option(help="Measure peak memory, each engine in a process of its own.")
    ] = True,
    memory: Annotated[
        bool,
        typer.Option(
            "--memory", help="Whether memory grows from 16 to 256 steps.", rich_help_panel=_MORE
        ),
    ] = False,
    stages: Annotated[
        bool,
        typer.Option("--stages", help="Seconds of import and calibration.", rich_help_panel=_MORE),
    ] = False,
    neurons: Annotated[
        str | None,
        typer.Option(help="Cost of a step of each, like if,burst.", rich_help_panel=_MORE),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the JSON document to this file.")
    ] = None,
    as_json: options.Json = False,
) -> int:
    """Time the simulation against other packages: the same network, images, steps and threads.

    Exit 1 where an engine could not run. Figures from a busy machine are worth little; the table
    says how busy it was.
    """
    if minutes is not None and not 0 < minutes < float("inf"):
        raise ConfigError(f"--minutes is a positive number, not {minutes}")
    chosen = list(models or MODELS)
    if weights is not None and len(chosen) != 1:
        raise ConfigError("--weights are those of one model", hint="name that model alone")
    target = scoring.pick_device(device)
    if output is not None:
        if output.is_dir():
            raise ConfigError(f"--output: '{output}' is a directory", hint="name a file")
        if not output.parent.is_dir():
            raise ConfigError(f"--output: the directory '{output.parent}' does not exist")
        require_writable(output.parent)
    settings = Settings(
        peers=installed(bench_costs.require_peers(against), asked=against is not None),
        timesteps=options.sizes(timesteps, "--timesteps"),
        batch_sizes=options.sizes(batch_size, "--batch-size"),
        precisions=_precisions(precision, target),
        repeats=repeats,
        minutes=minutes,
        max_pool=max_pool,
        weights=weights,
        input_shape=options.shape(input_shape),
        seed=seed,
        device=target,
        peak=peak,
        memory=memory,
        stages=stages,
        neurons=() if neurons is None else tuple(bench_costs.neuron_specs(neurons)),
    )
    with _threads(threads):
        document = bench_models(chosen, settings)
    text = json.dumps(document, indent=2) + "\n"
    if output is not None:
        write_text(output, text)
    if as_json:
        print(text, end="")
    else:
        console = Console(highlight=False)
        if not console.is_terminal:  # a file has room for the columns
            console = Console(highlight=False, width=max(console.width, WIDTH))
        console.print(render_bench(document, width=console.width))
    return 1 if document["failed"] else 0


def _precisions(text: str, device: torch.device) -> tuple[str, ...]:
    if text == "all":
        return PRECISIONS
    if text == "auto":
        return (fastest(device),)
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if name not in PRECISIONS:
            raise ConfigError(
                f"--precision {name or text} is not known",
                hint=f"choose all, auto or some of {', '.join(PRECISIONS)}",
            )
    return names


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before: Any = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
