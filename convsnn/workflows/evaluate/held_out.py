"""Training images that were held out from calibration, run before anything is scored."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from convsnn.measure import Evaluation, evaluate
from convsnn.measure.sharing import Share, part_of
from convsnn.measure.tasks import Task
from convsnn.measure.tasks.classify import class_numbers
from convsnn.simulate import Engine
from convsnn.spiking.network import Spiking
from convsnn.workflows.running.batch import note_smaller_batch
from convsnn.workflows.running.voice import progress
from convsnn.workflows.subject.images import Chosen, describe_part
from zoo.data import draw


@dataclass(frozen=True)
class Ahead:
    """What is about to be scored: how many steps, how many images, for what and with what."""

    steps: int
    samples: int
    task: Task
    engine: Engine
    share: Share


First = Callable[[Spiking, Ahead], Mapping[str, Any]]  # adds sections to the report


def held_out(calibration: Chosen, most: int, *, seed: int) -> Chosen | None:
    """Up to `most` training images behind those that were drawn for calibration; None for none."""
    used = len(calibration.indices)
    left = draw(calibration.part, used + most, seed=seed)[used:]
    return (
        Chosen(calibration.part, left, calibration.batch_size, calibration.device) if left else None
    )


def run_held_out(net: Spiking, images: Chosen, ahead: Ahead) -> Evaluation:
    """Score `images`; every process its part, process 0 gets the whole."""
    share = ahead.share
    (size,) = share.agree([images.batch_size])
    rows = part_of(share, len(images.indices), batch_size=size)
    batches = images.part.batches(size, indices=[images.indices[i] for i in rows])
    with progress("running held-out training images", len(rows)) as advance:
        return evaluate(
            net,
            batches,
            steps=ahead.steps,
            device=images.device,
            engine=ahead.engine,
            progress=advance,
            shrunk=note_smaller_batch,
            first=rows.start,
            share=share,
            task=ahead.task,
        )


def labels_of(images: Chosen) -> Tensor:
    """Class numbers (N,) of `images`, in their order."""
    targets = images.part.targets
    assert targets is not None  # whoever asks has looked
    return class_numbers(targets[images.indices])


def described(images: Chosen) -> dict[str, Any]:
    """The images as a report names them."""
    return describe_part(images.part, len(images.indices))
