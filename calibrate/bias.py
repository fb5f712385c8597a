"""Bias correction (Li et al. 2021, "A free lunch from ANN", section 4.2: light calibration).

    shift(c) += mean over images and positions of  a - a_snn(T)

channel by channel, layers in order, each behind layers that are corrected already. a is the
original's activation, a_snn(T) the neuron's mean output over T steps. A shift acts at every step,
so it makes up for what is lost at any T, such as clipping.
"""

from dataclasses import asdict, dataclass
from typing import Annotated

import torch

from calibrate.base import CALIBRATORS, Context
from calibrate.correction import check_options, correct_shift
from calibrate.replay import Replay
from convsnn.spiking.plan import Plan


@CALIBRATORS.register("bias")
@dataclass(frozen=True)
class Bias:
    """Shifts every channel's current so that its mean output is the original's after `steps`.

    Follows a stage that sets thresholds. `steps` (default: those of the conversion, at most 32)
    are simulated on the first `samples` images, `sweeps` times a layer.
    """

    steps: Annotated[
        int | None, "time steps that are simulated; none: those of the conversion, at most 32"
    ] = None
    samples: Annotated[int, "calibration images to simulate, the first of them"] = 256
    sweeps: Annotated[int, "corrections that are tried for each layer"] = 2

    def __post_init__(self) -> None:
        check_options(at=self.steps, samples=self.samples, sweeps=self.sweeps)

    def __call__(self, context: Context, plan: Plan) -> Plan:
        """See `Stage`."""
        steps = self.steps or min(context.steps, 32)
        replay = Replay(context, plan, steps, self.samples)
        with torch.no_grad():
            for layer in replay.layers():
                correct_shift(replay, layer, at=[steps], sweeps=self.sweeps)
        record = {"stage": "bias", **asdict(self), "steps": steps}
        return replay.plan.with_sites({}, record)
