"""`--early-exit`: margins fitted on images that are not scored, and what they save.

A network knows its training images by heart, and its answers to them settle soonest, so margins
fitted there let others leave too early. Where there are no unseen images they are fitted on sums of
two calibration images, which are harder than real ones. Measured with ResNet-20 on CIFAR-10 (64
steps, 8-bit, promise 99.5 %): margins from 1,000 plain training images kept 99.2 % of the answers
to 500 sums of others, margins from 1,000 sums kept all of them.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from convsnn.errors import ConfigError
from convsnn.graph import Graph
from convsnn.measure import Evaluation
from convsnn.measure.early_exit import require_classifier, run_early, trace
from convsnn.measure.margins import Margins, fit_margins, require_promise
from convsnn.measure.sharing import Share, part_of
from convsnn.measure.tasks import decide
from convsnn.report.page.early_exit import early_exit_section
from convsnn.simulate import Engine, Program
from convsnn.spiking.network import Spiking
from convsnn.workflows.evaluate import score as scoring
from convsnn.workflows.running.batch import note_smaller_batch
from convsnn.workflows.running.voice import progress
from convsnn.workflows.subject.images import Chosen, describe_part
from zoo.data import DataSet, Part, Preprocessing, draw, open_data

MOST_SAMPLES = 5000  # of --exit-data: more change the margins little
SHARE = 0.65  # of the first image in a sum of two


@dataclass(frozen=True)
class Sums:
    """Every image times SHARE plus the rest of the one behind it in the order they were drawn; of
    all of them the `rows`."""

    images: Chosen
    rows: range | None = None

    def __iter__(self) -> Iterator[Tensor]:
        order = self.images.indices
        rows = range(len(order)) if self.rows is None else self.rows
        these = replace(self.images, indices=[order[i] for i in rows])
        behind = replace(self.images, indices=[order[(i + 1) % len(order)] for i in rows])
        for x, other in zip(these, behind, strict=True):
            yield SHARE * x + (1 - SHARE) * other


@dataclass(frozen=True)
class Exiting:
    """What was promised, and the images to fit the margins on; `unseen` by the network."""

    promised: float
    images: Chosen
    unseen: bool

    def __call__(
        self, net: Spiking, evaluation: Evaluation, own: scoring.Own, engine: Engine
    ) -> dict[str, Any]:
        """Fit the margins, run the images again with early exit, compare with `evaluation`."""
        images, steps = self.images, evaluation.activity.steps
        program = Program(net.to(device=images.device), engine)
        margins = self.margins(program, steps=steps, share=own.share)
        with progress("leaving early", len(own.rows)) as advance:
            exits = run_early(
                program,
                own.batches,
                margins,
                device=images.device,
                progress=advance,
                shrunk=note_smaller_batch,
                first=own.rows.start,
                share=own.share,
            )
        section = early_exit_section(net, evaluation, margins, exits, fitted_on=self.fitted_on())
        return {"early_exit": section}

    def margins(self, program: Program, *, steps: int, share: Share) -> Margins:
        """The margins that keep the promise, for a run of `steps`."""
        (size,) = share.agree([self.images.batch_size])
        images = replace(self.images, batch_size=size)
        rows = part_of(share, len(images.indices), batch_size=size)
        mine = replace(images, indices=[images.indices[i] for i in rows])
        with progress("fitting margins", len(rows)) as advance:
            found = trace(
                program,
                mine if self.unseen else Sums(images, rows),
                steps=steps,
                progress=advance,
                shrunk=note_smaller_batch,
                first=rows.start,
                share=share,
            )
        return fit_margins(found, promised=self.promised)

    def fitted_on(self) -> dict[str, Any]:
        """The images that margins come from, as a report names them."""
        return {
            **describe_part(self.images.part, len(self.images.indices)),
            "unseen": self.unseen,
        }


def plan_exits(
    percent: float | None,
    exit_data: str | None,
    *,
    graph: Graph,
    steps: int,
    data: DataSet,
    preprocessing: Mapping[str, Any],
    calibration: Callable[[], Chosen],
    task: str | None = None,
    schedule: str = "steps",
) -> Exiting | None:
    """What `--early-exit` and `--exit-data` ask for, checked before any work; None for nothing.

    `task` is what the network is for (None: as the targets decide it).

    Raises ConfigError for a promise that cannot be kept or tested, for a network that is no
    classifier and for images that are scored, LoadError for data that cannot be read.
    """
    if percent is None:
        if exit_data is not None:
            raise ConfigError("--exit-data needs --early-exit", hint="like --early-exit 99.5")
        return None
    if schedule == "layers":
        raise ConfigError(
            "a network that fires layer by layer has no answer before its last step, so that no "
            "image can leave early",
            hint="use fewer --timesteps, or --schedule steps",
        )
    _require_classes(graph, data, task)
    images = calibration()
    if exit_data is not None:
        if not isinstance(exit_data, str):
            raise ConfigError(
                f"--exit-data names data, and is no {type(exit_data).__name__}",
                hint="like npz:TRAIN.npz,TEST.npz",
            )
        settings = Preprocessing.from_json(preprocessing)
        shape = tuple(graph.input.attrs["shape"])
        part = open_data(
            exit_data, input_shape=shape, preprocessing=settings, steps=data.test.steps
        ).train
        _require_unscored(part, data)
        images = replace(images, part=part, indices=draw(part, MOST_SAMPLES, seed=0))
    promised = percent / 100
    require_promise(promised, steps=steps, samples=len(images.indices))
    return Exiting(promised, images, unseen=exit_data is not None)


def _require_classes(graph: Graph, data: DataSet, task: str | None) -> None:
    """ConfigError for whatever is no classification: nothing else settles on an answer."""
    require_classifier(graph)
    told = decide(data.test.targets, graph, asked=task)
    if told.task.name != "classify":
        raise ConfigError(
            f"early exit promises the same classes, but the task is '{told.task.name}'"
            + (f" ({told.unscored})" if told.unscored else ""),
            hint="say that outputs are classes with --task classify, or leave --early-exit out",
        )


def _require_unscored(part: Part, data: DataSet) -> None:
    """Refuse margins that would be fitted on the images that are scored."""
    apart = data.test.source != data.train.source  # then a source says which images it holds
    if part.source == data.test.source and (apart or part.split == data.test.split):
        raise ConfigError(
            f"--exit-data names the images that are scored, {part.source}",
            hint="give images that are neither scored nor trained on, or leave --exit-data out",
        )
