"""Threshold = the largest input current behind soft-reset neurons (RMP-SNN, Han et al. 2020,
"RMP-SNN: residual membrane potential neuron").

    V(t) = V(t-1) + z(t) - threshold * s(t)
    threshold(l) = factor^l * max over steps, samples and neurons of  W_l y_{l-1}(t) + b_l

The soft reset keeps the rest of the potential, so the rate follows the activation even where the
threshold is lower than the largest current; `factor` (0.6 to 1, chosen per network) trades
clipping for latency.
"""

from dataclasses import asdict, dataclass
from typing import Annotated

from calibrate.base import CALIBRATORS, Context, SetsThresholds
from calibrate.currents import BEHIND, FACTOR, SAMPLES, STEPS, Behind, balanced, check_options
from convsnn.spiking.plan import Plan

NEURON = "if:reset=soft"


@CALIBRATORS.register("rmp")
@dataclass(frozen=True)
class ResidualPotential(SetsThresholds):
    """The layer's largest current at any step, behind soft-reset neurons, times `factor` per layer.

    `steps` are simulated per layer (default: those of the conversion) on the first `samples`
    images; `behind` is for networks with branches: see `calibrate.currents`.
    """

    factor: Annotated[float, FACTOR] = 1.0
    steps: Annotated[int | None, STEPS] = None
    samples: Annotated[int | None, SAMPLES] = None
    behind: Annotated[Behind, BEHIND] = "unity"

    def __post_init__(self) -> None:
        check_options(self.steps, self.samples, self.factor)

    def __call__(self, context: Context, plan: Plan) -> Plan:
        """See `Stage`."""
        return balanced(context, plan, stage="rmp", neuron=NEURON, options=asdict(self))
