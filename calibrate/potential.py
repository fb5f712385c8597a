"""Initial potentials by simulation (Li et al. 2021, section 4.3: advanced calibration).

    V(0) += T mean over images of  a - a_snn(T)

neuron by neuron (or averaged over a channel), layers in order, each behind layers that are
corrected already. The correction of the mean output is what the potential adds, 1/T of it: it
makes up for what is lost at the start and fades with more steps.
"""

from dataclasses import asdict, dataclass
from typing import Annotated

import torch

from calibrate.base import CALIBRATORS, Context
from calibrate.correction import Per, check_options, correct_potential
from calibrate.replay import Replay
from convsnn.spiking.plan import Plan


@CALIBRATORS.register("potential")
@dataclass(frozen=True)
class Potential:
    """Sets initial potentials so that mean outputs are the original's after `steps`.

    Follows a stage that sets thresholds. `steps` (default: those of the conversion, at most 16)
    are simulated on the first `samples` images, `sweeps` times a layer; `per` neuron or channel.
    """

    steps: Annotated[
        int | None, "time steps that are simulated; none: those of the conversion, at most 16"
    ] = None
    samples: Annotated[int, "calibration images to simulate, the first of them"] = 256
    per: Annotated[Per, "what shares one correction"] = "neuron"
    sweeps: Annotated[int, "corrections that are tried for each layer"] = 2

    def __post_init__(self) -> None:
        check_options(at=self.steps, samples=self.samples, sweeps=self.sweeps)

    def __call__(self, context: Context, plan: Plan) -> Plan:
        """See `Stage`."""
        steps = self.steps or min(context.steps, 16)
        replay = Replay(context, plan, steps, self.samples)
        with torch.no_grad():
            for layer in replay.layers():
                correct_potential(replay, layer, at=[steps], per=self.per, sweeps=self.sweeps)
        record = {"stage": "potential", **asdict(self), "steps": steps}
        return replay.plan.with_sites({}, record)
