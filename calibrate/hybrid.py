"""The conversion half of hybrid training (Rathi et al. 2020, "Enabling deep spiking neural networks
with hybrid conversion and spike timing dependent backpropagation").

    threshold(l) = 0.7^l * max over steps, samples and neurons of  W_l y_{l-1}(t) + b_l

Spike-Norm's maxima, found behind soft-reset neurons on a few hundred images, then lowered so that
deep layers speak within few steps. The other half, training the converted network on its spikes,
starts from this plan; without it this is only a starting point.
"""

from dataclasses import asdict, dataclass
from typing import Annotated

from calibrate.base import CALIBRATORS, Context, SetsThresholds
from calibrate.currents import BEHIND, FACTOR, SAMPLES, STEPS, Behind, balanced, check_options
from convsnn.spiking.plan import Plan

NEURON = "if:reset=soft"


@CALIBRATORS.register("hybrid")
@dataclass(frozen=True)
class Hybrid(SetsThresholds):
    """The largest current at any step, 0.7 times it for every layer: a start for training.

    `steps` are simulated per layer (default: those of the conversion) on the first `samples`
    images; `behind` is for networks with branches: see `calibrate.currents`.
    """

    factor: Annotated[float, FACTOR] = 0.7
    steps: Annotated[int | None, STEPS] = None
    samples: Annotated[int | None, SAMPLES] = None
    behind: Annotated[Behind, BEHIND] = "unity"

    def __post_init__(self) -> None:
        check_options(self.steps, self.samples, self.factor)

    def __call__(self, context: Context, plan: Plan) -> Plan:
        """See `Stage`."""
        return balanced(context, plan, stage="hybrid", neuron=NEURON, options=asdict(self))
