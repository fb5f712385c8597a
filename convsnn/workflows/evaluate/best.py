"""`--best energy`: the number of steps to run at, chosen on training images that were held out.

Of the steps whose score on those images is within `--max-drop` of the original's, the one that
costs least (the geometric mean over the sets of constants). The images that are scored are never
looked at; they only tell what the choice was worth.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from convsnn.errors import ConfigError
from convsnn.graph import Graph
from convsnn.measure import Evaluation
from convsnn.measure.energy import Measured, estimate
from convsnn.measure.tasks import decide
from convsnn.report.page.series import per_step
from convsnn.simulate import Engine
from convsnn.spiking.network import Spiking
from convsnn.workflows.evaluate.expected import expected
from convsnn.workflows.evaluate.held_out import Ahead, described, held_out, run_held_out
from convsnn.workflows.evaluate.pricing import Pricing
from convsnn.workflows.subject.images import Chosen
from zoo.data import DataSet

HELD_OUT = 1000  # images at most: they are run for all steps


@dataclass(frozen=True)
class Choosing:
    """The bound, in hundredths of the score, and the images that were held out."""

    max_drop: float
    images: Chosen
    pricing: Pricing

    def __call__(self, net: Spiking, ahead: Ahead) -> dict[str, Any]:
        """Run the images, and choose; they also tell what is expected."""
        found = run_held_out(net, self.images, ahead)
        if ahead.share.number != 0:
            return {}
        series = found.scores[found.task.headline]
        held = {"ann": series.ann, "snn": per_step(found, series.snn)}
        point = {
            "best": "energy",
            "max_drop": self.max_drop,
            "step": self._step(net, found, ahead.engine),
            "held_out": {**described(self.images), **held},
        }
        return {"point": point, **expected(found, self.images, self.max_drop)}

    def _step(self, net: Spiking, found: Evaluation, engine: Engine) -> int | None:
        """The step that costs least of those within the bound; None where there is none."""
        assert found.seen is not None  # every evaluation counts zeros
        series = found.scores[found.task.headline]
        priced = estimate(net, Measured(found.activity, found.seen), self.pricing.asked(engine))
        within = 100 * (series.ann - series.snn) <= self.max_drop + 1e-9
        costs = zip(priced.mean_joules().tolist(), priced.at, within.tolist(), strict=True)
        allowed = [(cost, step) for cost, step, yes in costs if yes]
        return min(allowed)[1] if allowed else None


def plan_best(
    best: str | None,
    max_drop: float | None,
    *,
    graph: Graph,
    data: DataSet,
    calibration: Callable[[], Chosen],
    seed: int,
    pricing: Pricing,
    task: str | None = None,
) -> Choosing | None:
    """What `--best` asks for, checked before any work; None for nothing.

    Raises ConfigError without a bound, without scores, and where no training image is left that
    was not calibrated on.
    """
    if best is None:
        return None
    if max_drop is None:
        raise ConfigError(
            "--best energy needs to know how much of the score may be lost for it",
            hint="like --max-drop 1 --best energy",
        )
    if data.train is data.test:
        raise ConfigError(
            "the number of steps would be chosen on the images that are scored",
            hint="name data that has a training part with --data, or leave --best out",
        )
    told = decide(data.train.targets, graph, asked=task)
    if told.unscored:
        raise ConfigError(f"--best needs scores on training images: {told.unscored}")
    used = calibration()
    images = held_out(used, HELD_OUT, seed=seed)
    if images is None:
        raise ConfigError(
            f"all {len(used.part)} training images were calibrated on, so none is left to choose "
            "the number of steps on",
            hint="use fewer --calibration-samples",
        )
    return Choosing(max_drop, images, pricing)
