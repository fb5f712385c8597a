"""A scoring run: what is asked before, the report, the result files and the gate."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from calibrate.cautions import cautions
from convsnn.errors import ConfigError, MissingExtraError, TooFewStepsError
from convsnn.export import save_artifact
from convsnn.graph import Graph
from convsnn.measure import Evaluation, evaluate
from convsnn.measure.sharing import Share, part_of
from convsnn.measure.tasks import Decision, decide
from convsnn.measure.tasks.decide import UNLABELLED
from convsnn.ranges import STEPS, finite, whole
from convsnn.readouts import READOUTS
from convsnn.report.document import to_json
from convsnn.report.files import ResultDirectory, write_text
from convsnn.report.page.assemble import assemble
from convsnn.report.page.html import render_html
from convsnn.simulate import Engine
from convsnn.spiking.network import Spiking
from convsnn.workflows.evaluate.classes import classes_of, named_scores
from convsnn.workflows.evaluate.doubts import doubts, shown_over_time
from convsnn.workflows.evaluate.examples import examples_of, how_many
from convsnn.workflows.evaluate.held_out import Ahead, First
from convsnn.workflows.evaluate.pricing import Pricing
from convsnn.workflows.evaluate.remedies import what_helps
from convsnn.workflows.running.batch import note_smaller_batch
from convsnn.workflows.running.precision import Wanted
from convsnn.workflows.running.processes import Group
from convsnn.workflows.running.voice import command_line, progress, warn
from convsnn.workflows.subject.class_names import require_named_head
from convsnn.workflows.subject.images import describe_part
from zoo.data import DataSet, absolute, choose, class_names

Batches = Iterator[tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class Own:
    """The images that this process scores, the `rows` of all of them, and whom it shares with."""

    batches: Batches
    rows: range
    share: Share


Also = Callable[[Spiking, Evaluation, Own, Engine], Mapping[str, Any]]


def score(
    net: Spiking,
    data: DataSet,
    *,
    steps: int,
    samples: int | None,
    seed: int,
    batch_size: int,
    device: torch.device,
    before: First | None = None,
    also: Also | None = None,
    wanted: Wanted | None = None,
    group: Group | None = None,
    task: str | None = None,
    pricing: Pricing | None = None,
    examples: int | None = 0,
) -> dict[str, Any]:
    """Run the test images and return the report; the header comes from the net's provenance.

    `task` is what the network is for (None: as it says itself, or as the targets decide it).
    `before` adds sections of its own from other images that it runs first, `also` from the
    evaluation, the same images and what computes; `pricing` is what its energy is estimated with
    (None: every known set of constants), `examples` how many images are looked at closely (None: a
    few). Of a `group` of processes each runs its part of the images, and only process 0 comes back
    from here, or, where the group goes on, gets a report; the others get nothing.
    """
    group, origin = group or Group(), net.provenance
    require_answer(net, steps)
    told = decide(data.test.targets, net.graph, asked=task or origin.get("task"))
    indices = choose(data.test, samples, seed=seed)
    if samples is not None and samples > len(indices):
        warn(f"the test part has {len(indices)} samples, not {samples}")
    engine = (wanted or Wanted()).engine(
        net.graph, steps=steps, samples=len(indices), device=device, group=group
    )
    pricing = pricing or Pricing()
    asked = pricing.asked(engine)
    (batch_size,), group.device = group.agree([batch_size]), device
    mine = part_of(group, len(indices), batch_size=batch_size)
    batches = data.test.batches(batch_size, indices=[indices[i] for i in mine])
    more: dict[str, Any] = {}
    ahead = Ahead(steps, len(indices), told.task, engine, group)
    if before is not None:
        more |= before(net, ahead)
    with progress("simulating", len(mine)) as advance:
        evaluation = evaluate(
            net,
            batches,
            steps=steps,
            device=device,
            engine=engine,
            progress=advance,
            shrunk=note_smaller_batch,
            first=mine.start,
            share=group,
            task=told.task,
        )

    def again() -> Batches:
        return data.test.batches(batch_size, indices=[indices[i] for i in mine])

    if also is not None:
        more |= also(net, evaluation, Own(again(), mine, group), engine)
    quantised = pricing.scored(
        net, evaluation, again(), engine, share=group, device=device, images=len(mine)
    )
    group.done()
    if group.number:
        return {}
    header = {
        "command": command_line(),
        "seed": seed,
        "model": origin["model"],
        "data": {
            "given": data.spec,
            "absolute": None if data.spec is None else absolute(data.spec),
            "calibration": origin["calibration"],
            "evaluation": describe_part(data.test, len(indices)),
        },
        "preprocessing": None if data.preprocessing is None else data.preprocessing.to_json(),
        "method": origin["method"],
    }
    warnings = [caution.text for caution in cautions(net.neuron, net.plan)]
    warnings += [*doubts(header), *shown_over_time(data)]
    doubt = None
    if evaluation.doubt and "recipe" not in origin["method"].get("training", {}):
        helps = what_helps(net.graph, data, task=told.task, batch_size=batch_size, device=device)
        doubt = f"the original itself {evaluation.doubt}: {helps}"
        warnings.insert(0, doubt)
    body = assemble(net, evaluation, header=header, precision=engine.describe(), asked=asked)
    body["estimate"]["quantised"] = quantised
    body["metrics"] = named_scores(net, evaluation, data.test, body["metrics"])
    more |= classes_of(net, evaluation, data.test, indices)
    more |= examples_of(
        net,
        evaluation,
        data.test,
        indices,
        count=how_many(examples, len(indices)),
        seed=seed,
        device=device,
        preprocessing=data.preprocessing,
    )
    made = {**vars(engine), "processes": group.count}
    said = {"not_scored": told.unscored or None, "doubt": doubt}
    return {**body, **said, "engine": made, "warnings": warnings, **more}


def require_answer(net: Spiking, steps: int) -> None:
    """Raise ConfigError where the readout leaves out all of `steps` time steps."""
    whole(steps, "the number of time steps", least=1, most=STEPS)
    late = READOUTS.create(net.readout).delay
    if late >= steps:
        raise TooFewStepsError(
            f"the readout leaves out the first {late} of {steps} time steps, so there is no answer",
            hint=f"use more than {late} --timesteps",
        )


def write_results(
    folder: Path,
    report: dict[str, Any],
    *,
    force: bool,
    net: Spiking | None = None,
    more: Mapping[str, Callable[[], str]] = MappingProxyType({}),
) -> list[str]:
    """Write network.safetensors, report.json, report.html and files with the text of `more`;
    returns notes for the user, of pages that could not be drawn."""
    notes = []
    texts: dict[str, Callable[[], str]] = {
        "report.json": partial(to_json, report),
        "report.html": partial(render_html, report),
    }
    with ResultDirectory(folder, force=force) as inside:
        if net is not None:
            save_artifact(net, inside / "network.safetensors")
        for name, text in {**texts, **more}.items():
            try:
                write_text(inside / name, text())
            except MissingExtraError as error:
                notes.append(f"{name} was not written: {error}; {error.hint}")
    return notes


def require_scores(
    max_drop: float | None,
    data: DataSet,
    graph: Graph,
    *,
    task: str | None = None,
    names: Sequence[str] | None = None,
) -> Decision:
    """The task of `graph` on `data`, which the user may have said; refuses what could not be
    scored before any work: labels that the network cannot give, boxes of other classes than the
    data or the network itself `names`, and a gate on scores where there are none."""
    if max_drop is not None:
        finite(max_drop, "--max-drop")
    told = decide(data.test.targets, graph, asked=task)
    shape = graph.shapes[graph.outputs[0]]
    for known, whose in ((class_names(data.test), data.test.source), (names, "the network")):
        require_named_head(told.task, shape, known, whose=f"the classes of {whose}")
    if max_drop is not None and told.unscored:
        raise ConfigError(f"--max-drop needs scores, and there are none: {told.unscored}")
    if told.unscored not in ("", UNLABELLED) and task is None:
        warn(f"nothing is scored but the agreement with the original: {told.unscored}")
    return told


def gate(report: dict[str, Any], max_drop: float | None) -> int:
    """Exit code: 1 where the headline score (accuracy, F1, mIoU, R2) fell by more than `max_drop`
    hundredths at the last step, or at the step that was chosen to run at where one was asked for.

    It says so on stderr, which is for the end, where it is read.
    """
    if max_drop is None:
        return 0
    name = report["headline"]
    score, point = report["metrics"][name], report.get("point")
    step = report["timesteps"] if point is None else point["step"]
    if step is None:
        warn(f"gate failed: at no step is the loss on held-out images within {max_drop:g}")
        return 1
    before, after = score["ann"], score["snn"][step - 1]
    if before is None or after is None:
        warn(f"gate failed: {score['label']} has no value on this data")
        return 1
    drop = 100 * (before - after)
    if drop <= max_drop + 1e-9:
        return 0
    points = "points" if score["unit"] == "fraction" else "hundredths"
    label = score["label"] if point is None else f"{score['label']} at step {step}"
    warn(f"gate failed: {label} fell by {drop:.2f} {points}, --max-drop allows {max_drop:g}")
    return 1
