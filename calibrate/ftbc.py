"""Time-varying bias (Wu et al. 2024, "FTBC: forward temporal bias correction").

    b(t) += rate (t g(t) - (t - 1) g(t - 1)),   g(t) = mean of  a - a_snn(t)

per channel and step, layers in order, each behind layers that are corrected already. a is the
original's activation, a_snn(t) the neuron's mean output over the first t steps: t g(t) is what the
neuron still owes after step t, and b(t) pays what step t has added to that. The published rule adds
the g(t) themselves, a step's share of what is owed. A constant bias, or another initial potential,
cannot be right at early and late steps at once: spikes arrive late and unevenly, differently at
every step, and this is the part of it that is the same for all images.
"""

from dataclasses import asdict, dataclass
from typing import Annotated

import torch

from calibrate.base import CALIBRATORS, Context
from calibrate.correction import check_options, correct_timed_bias
from calibrate.replay import Replay
from convsnn.errors import CalibrationError
from convsnn.spiking.plan import Plan


@CALIBRATORS.register("ftbc")
@dataclass(frozen=True)
class ForwardTemporalBias:
    """Gives every channel a bias for each step, so that its mean output is right at all of them.

    Follows a stage that sets thresholds. `steps` (default: those of the conversion, at most 32) are
    simulated on the first `samples` images, `sweeps` times a layer; later steps have no such bias.
    """

    steps: Annotated[
        int | None, "time steps that get a bias; none: those of the conversion, at most 32"
    ] = None
    samples: Annotated[int, "calibration images to simulate, the first of them"] = 256
    sweeps: Annotated[int, "corrections that are tried for each layer"] = 4
    rate: Annotated[float, "share of what is owed that a correction pays, up to 1"] = 0.5

    def __post_init__(self) -> None:
        check_options(at=self.steps, samples=self.samples, sweeps=self.sweeps)
        if not 0 < self.rate <= 1:
            raise ValueError(f"rate must be above 0 and at most 1, not {self.rate}")

    def __call__(self, context: Context, plan: Plan) -> Plan:
        """See `Stage`."""
        if context.schedule == "layers":
            raise CalibrationError(
                "a bias for each step says nothing where a layer waits for all steps",
                hint="use bias, which is the same at every step, or --schedule steps",
            )
        steps = self.steps or min(context.steps, 32)
        replay = Replay(context, plan, steps, self.samples)
        with torch.no_grad():
            for layer in replay.layers():
                correct_timed_bias(replay, layer, steps=steps, rate=self.rate, sweeps=self.sweeps)
        record = {"stage": "ftbc", **asdict(self), "steps": steps}
        return replay.plan.with_sites({}, record)
