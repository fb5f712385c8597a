"""`convsnn evaluate`: scores a saved spiking network again, to the same numbers."""

from pathlib import Path
from typing import Annotated

import typer

from convsnn.commands import groups, options, printing
from convsnn.report.files import ResultDirectory
from convsnn.workflows.evaluate.again import evaluate_saved
from convsnn.workflows.evaluate.score import gate
from convsnn.workflows.running.processes import processes
from convsnn.workflows.subject.saved import load_saved


@groups.grouped
def evaluate(
    artifact: options.Artifact,
    *,
    data: options.Data = None,
    timesteps: options.SavedSteps = None,
    again: groups.Again,
    schedule: options.SavedSchedule = None,
    precision: options.SavedPrecision = None,
    weight_bits: options.WeightBits = None,
    compile: options.Compile = None,
    reading: groups.Reading,
    scoring: groups.Scoring,
    energy: groups.Energy,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the report to this directory.")
    ] = None,
    as_json: options.Json = False,
    csv: options.Csv = None,
    force: options.Force = False,
) -> int:
    """Score a saved spiking network on test images, at every time step.

    Started by torchrun, the processes share the images between them.
    """
    with processes() as group:
        if output is not None:
            ResultDirectory(output, force=force).check()
        sets = energy.sets()
        found = evaluate_saved(
            load_saved(artifact), data, timesteps=timesteps, **vars(again), schedule=schedule,
            precision=precision,
            weight_bits=weight_bits, compile=compile, preprocessing=reading.preprocessing(),
            task=scoring.task, gate=scoring.max_drop, early_exit=scoring.early_exit,
            exit_data=scoring.exit_data, place=str(artifact), group=group, sets=sets,
            best=energy.best, examples=scoring.examples,
        )  # fmt: skip
        if output is not None:
            found.write(output, force=force, network=False)
        printing.show(dict(found.document), as_json=as_json)
        printing.write_csv(found, csv)
        return gate(dict(found.document), scoring.max_drop)
