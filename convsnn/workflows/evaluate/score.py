"""What `convert` and `evaluate` share: the network's data, the scoring run and the result files."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from calibrate.cautions import cautions
from convsnn.errors import ConfigError, LoadError, MissingExtraError
from convsnn.export import save_artifact
from convsnn.graph import Graph
from convsnn.measure import Evaluation, evaluate
from convsnn.measure.fitting import USUAL_BATCH
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
from convsnn.workflows.evaluate.doubts import doubts
from convsnn.workflows.evaluate.remedies import what_helps
from convsnn.workflows.running.precision import Wanted
from convsnn.workflows.running.processes import Group, card
from convsnn.workflows.running.voice import command_line as command_line
from convsnn.workflows.running.voice import note, progress, warn
from zoo.data import DATASETS, DataSet, Part, absolute, choose, find_images

DEFAULT_BATCH = USUAL_BATCH
DEVICES = ("cpu", "cuda")

Batches = Iterator[tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class Own:
    """The images that this process scores, the `rows` of all of them, and whom it shares with."""

    batches: Batches
    rows: range
    share: Share


Also = Callable[[Spiking, Evaluation, Own, Engine], Mapping[str, Any]]


def pick_device(text: str) -> torch.device:
    """`auto` is CUDA where there is one; ConfigError for a device that is not here.

    Of several processes on one machine each takes the card of its number.
    """
    # a report that says float32 may not come from the 10-bit mantissa of TF32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    if text == "auto":
        text = "cuda" if torch.cuda.is_available() else "cpu"
    if text.startswith("cpu:"):
        raise ConfigError(
            f"--device {text} is not known: a CPU has no number", hint="use --device cpu"
        )
    if text.partition(":")[0] not in DEVICES:
        raise ConfigError(f"--device {text} is not known", hint="choose auto, cpu, cuda or cuda:N")
    own = card()
    if own is not None and text.startswith("cuda:"):
        raise ConfigError(
            f"several processes cannot all run on '{text}'",
            hint="use --device cuda, and each takes the card of its number",
        )
    if own is not None and text == "cuda":
        text = f"cuda:{own}"
    try:
        device = torch.device(text)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"device '{text}' cannot be used: {reason}", hint="use --device cpu, or auto"
        ) from None
    return device


def require_data(spec: str | None, model: str) -> str:
    """The data spec, or ConfigError with the choices where neither user nor model names one."""
    if spec is None:
        path = Path(model)
        beside = (
            f", or put {path.stem}.data.json beside the file, "
            'holding {"data": "npz:train.npz,test.npz", "preprocessing": {"mean": [0.5]}}'
        )
        raise ConfigError(
            f"'{model}' does not say which data it was trained on",
            hint=f"name the data with --data ({', '.join(DATASETS.names())}), for example "
            f"--data npz:train.npz,test.npz{beside if path.suffix == '.onnx' else ''}",
        )
    return spec


@contextmanager
def named_in(place: str, *, hint: str = "") -> Iterator[None]:
    """Let errors of data that the user did not type say the place that names it; with `hint`, which
    a missing or damaged file then gets. An empty place changes nothing."""
    try:
        yield
    except (ConfigError, LoadError) as error:
        if not place:
            raise
        better = hint if hint and isinstance(error, LoadError) else error.hint
        raise type(error)(f"{error} (this data is named in {place})", hint=better) from None


def natural_shape(spec: str, resize: tuple[int, ...] | None) -> tuple[int, ...]:
    """Shape of one sample as the data set stores it, channels first, or as `resize` makes it."""
    train, _ = find_images(spec)
    shape = tuple(next(train.read([0])).shape[1:])
    return (shape[0], *resize) if resize is not None and len(resize) == 2 else shape


@dataclass(frozen=True)
class Images:
    """Chosen images of one split, without labels, that can be iterated any number of times."""

    part: Part
    indices: list[int]
    batch_size: int
    device: torch.device

    def __iter__(self) -> Iterator[Tensor]:
        for x, _ in self.part.batches(self.batch_size, indices=self.indices):
            yield x.to(self.device)


def describe_part(part: Part, samples: int) -> dict[str, Any]:
    """A split as the report names it."""
    return {"source": part.source, "split": part.split, "samples": samples}


def score(
    net: Spiking,
    data: DataSet,
    *,
    steps: int,
    samples: int | None,
    seed: int,
    batch_size: int,
    device: torch.device,
    also: Also | None = None,
    wanted: Wanted | None = None,
    group: Group | None = None,
    task: str | None = None,
) -> dict[str, Any]:
    """Run the test images and return the report; the header comes from the net's provenance.

    `task` is what the network is for (None: as it says itself, or as the targets decide it).
    `also` adds sections of its own, from the evaluation, the same images and what computes. Of a
    `group` of processes each runs its part of the images, and only process 0 comes back from here.
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
    (batch_size,), group.device = group.agree([batch_size]), device
    mine = part_of(group, len(indices), batch_size=batch_size)
    batches = data.test.batches(batch_size, indices=[indices[i] for i in mine])
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
    more: Mapping[str, Any] = {}
    if also is not None:
        again = data.test.batches(batch_size, indices=[indices[i] for i in mine])
        more = also(net, evaluation, Own(again, mine, group), engine)
    group.done()
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
    warnings += doubts(header)
    doubt = None
    if evaluation.doubt and "recipe" not in origin["method"].get("training", {}):
        helps = what_helps(net.graph, data, task=told.task, batch_size=batch_size, device=device)
        doubt = f"the original itself {evaluation.doubt}: {helps}"
        warnings.insert(0, doubt)
    body = assemble(net, evaluation, header=header, precision=engine.describe())
    made = {**vars(engine), "processes": group.count}
    said = {"not_scored": told.unscored or None, "doubt": doubt}
    return {**body, **said, "engine": made, "warnings": warnings, **more}


def require_answer(net: Spiking, steps: int) -> None:
    """Raise ConfigError where the readout leaves out all of `steps` time steps."""
    whole(steps, "the number of time steps", least=1, most=STEPS)
    late = READOUTS.create(net.readout).delay
    if late >= steps:
        raise ConfigError(
            f"the readout leaves out the first {late} of {steps} time steps, so there is no answer",
            hint=f"use more than {late} --timesteps",
        )


def note_smaller_batch(images: int) -> None:
    """Say on stderr that memory ran out and how the run goes on."""
    text = f"memory ran out; going on with {images} image(s) at once (--batch-size {images})"
    note(text)


def write_results(
    folder: Path, report: dict[str, Any], *, force: bool, net: Spiking | None = None
) -> list[str]:
    """Write network.safetensors, report.json and report.html; returns notes for the user."""
    notes = []
    with ResultDirectory(folder, force=force) as inside:
        if net is not None:
            save_artifact(net, inside / "network.safetensors")
        write_text(inside / "report.json", to_json(report))
        try:
            write_text(inside / "report.html", render_html(report))
        except MissingExtraError as error:
            notes.append(f"report.html was not written: {error}; {error.hint}")
    return notes


def require_scores(
    max_drop: float | None, data: DataSet, graph: Graph, *, task: str | None = None
) -> Decision:
    """The task of `graph` on `data`, which the user may have said; refuses what could not be
    scored before any work: labels that the network cannot give, and a gate on scores where there
    are none."""
    if max_drop is not None:
        finite(max_drop, "--max-drop")
    told = decide(data.test.targets, graph, asked=task)
    if max_drop is not None and told.unscored:
        raise ConfigError(f"--max-drop needs scores, and there are none: {told.unscored}")
    if told.unscored not in ("", UNLABELLED) and task is None:
        warn(f"nothing is scored but the agreement with the original: {told.unscored}")
    return told


def gate(report: dict[str, Any], max_drop: float | None) -> int:
    """Exit code: 1 where the headline score (accuracy, F1, mIoU, R2) at the last step fell by more
    than `max_drop` hundredths.

    It says so on stderr, which is for the end, where it is read.
    """
    if max_drop is None:
        return 0
    name = report["headline"]
    score = report["metrics"][name]
    before, after = score["ann"], score["snn"][-1]
    if before is None or after is None:
        warn(f"gate failed: {score['label']} has no value on this data")
        return 1
    drop = 100 * (before - after)
    if drop <= max_drop + 1e-9:
        return 0
    points = "points" if score["unit"] == "fraction" else "hundredths"
    label = score["label"]
    warn(f"gate failed: {label} fell by {drop:.2f} {points}, --max-drop allows {max_drop:g}")
    return 1
