"""What new images are expected to lose, told before they are scored, from training images that were
held out from calibration.

Both networks answer the same images, so that the interval is a paired one: see
`convsnn.measure.paired`. The original was trained on these images and knows them; of new ones both
networks get fewer right.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from convsnn.measure import Evaluation
from convsnn.measure.paired import loss
from convsnn.report.page.series import per_step
from convsnn.spiking.network import Spiking
from convsnn.workflows.evaluate.held_out import (
    Ahead,
    First,
    described,
    held_out,
    labels_of,
    run_held_out,
)
from convsnn.workflows.running.voice import note
from convsnn.workflows.subject.images import Chosen
from zoo.data import DataSet

MOST = 200  # images, and one for every SHARE that are scored, for they take as long as those
SHARE = 4
FEWEST = 20  # fewer tell nothing
TRUST = 2.0  # points that may be lost where the user names no bound


@dataclass(frozen=True)
class Expecting:
    """Images to run before scoring, by how many at most, and the points that may be lost."""

    images: Callable[[int], Chosen | None]
    bound: float

    def __call__(self, net: Spiking, ahead: Ahead) -> dict[str, Any]:
        """See `First`; nothing where no image is left or few are scored."""
        count = min(MOST, ahead.samples // SHARE)
        if count < FEWEST or ahead.task.name != "classify":
            return {}
        images = self.images(count)
        if images is None:
            return {}
        if wrong := ahead.task.misfit(images.part.targets, net.graph.shapes[net.graph.outputs[0]]):
            note(f"nothing is expected from held-out training images: {wrong}")
            return {}
        section = expected(run_held_out(net, images, ahead), images, self.bound)
        if section:
            told = section["expected"]
            drop, low, high = (100 * told[key][-1] for key in ("drop", "low", "high"))
            ends = f"({low:.1f} to {high:.1f})"
            note(f"expected after {ahead.steps} steps: drop {drop:.1f} points {ends}")
        return section


def expected(found: Evaluation, images: Chosen, bound: float) -> dict[str, Any]:
    """The section of the report; none in processes that did not get the whole."""
    if found.predictions is None or found.ann_predictions is None or not found.scores:
        return {}
    labels = labels_of(images)
    drop, low, high = loss(found.predictions == labels, found.ann_predictions == labels)
    section = {
        **described(images),
        "drop": per_step(found, drop),
        "low": per_step(found, low),
        "high": per_step(found, high),
        "bound": bound,
        "from": _from_here_on((100 * high <= bound + 1e-9).tolist(), found.activity.at),
    }
    return {"expected": section}


def _from_here_on(within: list[bool], at: list[int]) -> int | None:
    """The first number of steps from which on all are within; None where the last is not."""
    found = None
    for step, yes in reversed(list(zip(at, within, strict=True))):
        if not yes:
            break
        found = step
    return found


def plan_expected(
    data: DataSet, calibration: Callable[[], Chosen], *, seed: int, bound: float | None
) -> First | None:
    """What runs training images before scoring; None where they are those that are scored, or
    have no labels."""
    if data.train is data.test or data.train.targets is None:
        return None
    most = TRUST if bound is None else bound
    return Expecting(lambda count: held_out(calibration(), count, seed=seed), most)
