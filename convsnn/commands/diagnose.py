"""`convsnn diagnose`: where the error of a saved spiking network comes from, and what to try.

With `--json` one document (schema 1) is printed, which `-o` writes beside a page:

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

from convsnn.commands import groups, options, printing
from convsnn.commands.terminal import messages
from convsnn.errors import ConfigError
from convsnn.report.files import require_writable
from convsnn.workflows.diagnose import PAGE
from convsnn.workflows.diagnose import diagnose as find_causes
from convsnn.workflows.running.device import pick_device
from convsnn.workflows.subject.saved import data_of, load_saved


@groups.grouped
def diagnose(
    artifact: options.Artifact,
    *,
    data: options.Data = None,
    timesteps: options.SavedSteps = None,
    split: Annotated[
        Literal["test", "train"], typer.Option(help="The images to look at.")
    ] = "test",
    samples: Annotated[int, typer.Option(help="Images to look at, chosen at random.", min=1)] = 200,
    batch_size: options.BatchSize = None,
    seed: options.SavedSeed = None,
    device: options.Device = "auto",
    reading: groups.Reading,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Write diagnosis.json and diagnosis.html to this directory.",
        ),
    ] = None,
    as_json: options.Json = False,
    csv: options.Csv = None,
) -> int:
    """Say where a spiking network loses its accuracy, layer by layer, and what to try.

    It measures the float32 reference, whatever precision the network was scored in.
    """
    if timesteps is not None and timesteps < 1:
        raise ConfigError(f"--timesteps must be at least 1, not {timesteps}")
    if output is not None:
        require_writable(output)
    target = pick_device(device)
    net = load_saved(artifact)
    opened, _ = data_of(net, data, reading.preprocessing(), place=str(artifact))
    found = find_causes(
        net, opened.test if split == "test" else opened.train, timesteps=timesteps,
        samples=samples, batch_size=batch_size, seed=seed, device=target,
    )  # fmt: skip
    if output is not None:
        found.write(output)
    printing.show_result(found, as_json=as_json, csv=csv)
    if output is not None:
        messages().print(f"the diagnosis is in {output}/ (open {PAGE})", markup=False)
    return 0
