"""A function that neurons stand for: in the original itself, in the spiking network their sum.

Both are read by one node, so that the original stays what it was: it is what a network with fitted
functions is compared with, calibrated for and priced beside (see `convsnn.passes.ramps`).
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from convsnn.graph.ops.base import OPS, op

FITTED = "fitted"
# functions of one value alone that a sum of a few neurons comes close to, as users call them
FITTABLE = {
    "gelu": "gelu", "silu": "silu", "hard_swish": "hard-swish", "hard_sigmoid": "hard-sigmoid",
    "sigmoid_inside": "sigmoid", "log_sigmoid": "log-sigmoid", "tanh": "tanh", "elu": "elu",
    "softplus": "softplus", "softsign": "softsign", "mish": "mish",
}  # fmt: skip


@op(FITTED)
def fitted(
    neurons: Tensor, x: Tensor, *, function: str, options: Mapping[str, Any], error: float
) -> Tensor:
    """The function of x, as the original has it; `error` is that of the neurons, relative."""
    del neurons, error
    return OPS[function].run(x, **options)
