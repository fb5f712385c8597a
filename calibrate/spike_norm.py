"""Threshold = the largest input current of a layer behind spiking layers (Spike-Norm, Sengupta
et al. 2019, "Going deeper in spiking neural networks: VGG and residual architectures").

    threshold(l) = max over steps, samples and neurons of  W_l y_{l-1}(t) + b_l

with neurons that reset to zero. This is the current of one step, not its mean, so it lies well
above the largest activation: few spikes are lost and many steps are needed. The authors use
Poisson input, no biases and 2,500 steps.
"""

from dataclasses import asdict, dataclass
from typing import Annotated

from calibrate.base import CALIBRATORS, Context, SetsThresholds
from calibrate.currents import BEHIND, SAMPLES, STEPS, Behind, balanced, check_options
from convsnn.spiking.plan import Plan

NEURON = "if:reset=zero"


@CALIBRATORS.register("spike-norm")
@dataclass(frozen=True)
class SpikeNorm(SetsThresholds):
    """The layer's largest current at any step, behind zero-reset neurons; for `if:reset=zero`.

    `steps` are simulated per layer (default: those of the conversion) on the first `samples`
    images; `behind` is for networks with branches: see `calibrate.currents`.
    """

    steps: Annotated[int | None, STEPS] = None
    samples: Annotated[int | None, SAMPLES] = None
    behind: Annotated[Behind, BEHIND] = "unity"

    def __post_init__(self) -> None:
        check_options(self.steps, self.samples)

    def __call__(self, context: Context, plan: Plan) -> Plan:
        """See `Stage`."""
        return balanced(context, plan, stage="spike-norm", neuron=NEURON, options=asdict(self))
