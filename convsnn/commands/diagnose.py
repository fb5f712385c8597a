"""`convsnn diagnose`: where the error of a saved spiking network comes from, and what to try.

With `--json` one document (schema 1) is printed:

    schema, convsnn, command, seed, timesteps
    model, method                   as in report.json of the conversion
    data {source, split, samples}   the images looked at
    ann {accuracy, classes}         both null where there are no labels or classes
    snn {accuracy, agreement}       after the last step
    output_error                    of the outputs, relative to their root mean square
    causes {clipping, quantisation, sin, uneven}   the part of each in the error that is not
                                    inherited, over all layers; they add up to 1 (null: no error)
    worst, made_here, lost          names of the layers: of the largest error, of the largest error
                                    made in the layer itself, the first with an error above half
                                    (null where there is none)
    layers [{name, kind, neurons, threshold {min, mean, max}, start, activation_rms, error,
             made_here, mean_error, rms {...}, shares {...}, above, sin_ratio, dead, ann_dead}]
    findings [{finding, reason, try [...]}]        the most urgent first

`start` is the initial potential as a fraction of the threshold; the rest of a layer is defined in
`convsnn.measure.decomposition`, whose five parts are the keys of `rms` and `shares`.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from calibrate.cautions import cautions
from convsnn.commands import options
from convsnn.commands.terminal import messages
from convsnn.errors import ConfigError
from convsnn.measure.decomposition import decompose
from convsnn.report.diagnosis.advice import advise
from convsnn.report.diagnosis.document import diagnosis, render_diagnosis
from convsnn.report.document import to_json
from convsnn.workflows.evaluate import score as scoring
from convsnn.workflows.running.precision import as_before
from convsnn.workflows.running.voice import progress
from convsnn.workflows.subject.saved import open_saved
from zoo.data import choose


def diagnose(
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
    split: Annotated[
        Literal["test", "train"], typer.Option(help="The images to look at.")
    ] = "test",
    samples: Annotated[int, typer.Option(help="Images to look at, chosen at random.", min=1)] = 200,
    batch_size: options.BatchSize = None,
    seed: Annotated[
        int | None, typer.Option(help="Chooses samples (default: that of the conversion).", min=0)
    ] = None,
    device: options.Device = "auto",
    scale: options.Scale = None,
    mean: options.Mean = None,
    std: options.Std = None,
    resize: options.Resize = None,
    input_layout: options.InputLayout = None,
    as_json: options.Json = False,
) -> int:
    """Say where a spiking network loses its accuracy, layer by layer, and what to try.

    It measures the float32 reference, whatever precision the network was scored in.
    """
    if timesteps is not None and timesteps < 1:
        raise ConfigError(f"--timesteps must be at least 1, not {timesteps}")
    target = scoring.pick_device(device)
    saved = open_saved(
        artifact,
        data=data,
        preprocessing=options.preprocessing(
            scale=scale, mean=mean, std=std, resize=resize, layout=input_layout
        ),
    )
    if saved.net.encoder.steps is not None:
        raise ConfigError(
            "a network that is shown sequences was not converted, so there is no original whose "
            "accuracy it could have lost",
            hint="score it with convsnn evaluate",
        )
    part = saved.data.test if split == "test" else saved.data.train
    made_in = as_before(saved.origin, precision=None, weight_bits=None, compile=None).describe()
    if made_in != "float32":
        note = f"note: this is the float32 reference; the network was scored in {made_in}"
        messages().print(note, style="yellow", markup=False)
    number = saved.origin["seed"] if seed is None else seed
    indices = choose(part, samples, seed=number)
    with progress("diagnosing", len(indices)) as advance:
        found = decompose(
            saved.net,
            part.batches(batch_size or saved.origin["batch_size"], indices=indices),
            steps=timesteps or saved.origin["timesteps"],
            device=target,
            progress=advance,
        )
    header = {
        "command": scoring.command_line(),
        "seed": number,
        "timesteps": timesteps or saved.origin["timesteps"],
        "model": saved.origin["model"],
        "method": saved.origin["method"],
        "data": scoring.describe_part(part, len(indices)),
    }
    document = diagnosis(saved.net, found, header=header)
    found_out = cautions(saved.net.neuron, saved.net.plan)
    document["findings"] = advise(document, mismatches=[(c.text, c.remedy) for c in found_out])
    if as_json:
        print(to_json(document), end="")
    else:
        Console().print(render_diagnosis(document))
    return 0
