"""`convsnn bench`: how fast networks are simulated, beside the packages people use today."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from convsnn.commands import groups, options, printing
from convsnn.simulate import PRECISIONS
from convsnn.workflows.bench import Settings, costs
from convsnn.workflows.bench import bench as measure
from convsnn.workflows.bench.peers.installed import installed
from convsnn.workflows.bench.run import MODELS
from convsnn.workflows.bench.settings import choose_precisions
from convsnn.workflows.running.device import pick_device

WIDTH = 130
_MORE = "What else to measure"


@groups.grouped
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
        typer.Option(help="spikingjelly,sinabs, one of them, or none. Default: those installed."),
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
    schedule: Annotated[
        Literal["steps", "layers"],
        typer.Option(help="When layers of ours fire; peers know steps only."),
    ] = "steps",
    device: options.Device = "auto",
    minutes: Annotated[
        float | None, typer.Option(help="Measure with fewer repeats to end within so many.")
    ] = None,
    network: groups.Network,
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
        typer.Option(
            "--stages",
            help="Seconds of import; of calibration also ANN passes.",
            rich_help_panel=_MORE,
        ),
    ] = False,
    neurons: Annotated[
        str | None,
        typer.Option(help="Cost of a step of each, like if,burst.", rich_help_panel=_MORE),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the JSON document to this file.")
    ] = None,
    as_json: options.Json = False,
    csv: options.Csv = None,
) -> int:
    """Time the simulation against other packages: the same network, images, steps and threads.

    Exit 1 where an engine could not run. Figures from a busy machine are worth little; the table
    says how busy it was.
    """
    target = pick_device(device)
    settings = Settings(
        peers=installed(costs.require_peers(against), asked=against is not None),
        timesteps=options.sizes(timesteps, "--timesteps"),
        batch_sizes=options.sizes(batch_size, "--batch-size"),
        precisions=choose_precisions(precision, target),
        repeats=repeats, device=target, threads=threads, minutes=minutes, max_pool=max_pool,
        schedule=schedule,
        weights=network.weights, input_shape=options.shape(network.input_shape),
        answer=network.answer, seed=seed, peak=peak, memory=memory, stages=stages,
        neurons=() if neurons is None else tuple(costs.neuron_specs(neurons)),
    )  # fmt: skip
    found = measure(models or MODELS, settings, output=output)
    printing.show_result(found, as_json=as_json, csv=csv, width=WIDTH)
    return 1 if found.failed else 0
