"""sinabs: `from_model` on the network, all time steps of a batch in one call.

It has one threshold for all layers of a call, so each layer is given ours afterwards, and weights
take in what a spike is worth, which is what its normalisation of weights amounts to. One spike a
step and no lower bound make its neurons the plain ones.
"""

import io
import math
from contextlib import redirect_stdout
from types import ModuleType

import torch
from torch import Tensor

from convsnn.errors import MissingExtraError, SimulationError
from convsnn.spiking.network import Spiking
from convsnn.workflows.bench.peers.base import Contender, Run, require_plain
from convsnn.workflows.bench.peers.layers import as_module

LARGEST = 1 << 28  # elements of the largest layer in one call: 1 GiB in float32


def module() -> ModuleType:
    """The package; MissingExtraError where it is not installed."""
    try:
        with redirect_stdout(io.StringIO()):
            import sinabs
            import sinabs.from_torch
    except ImportError:
        raise MissingExtraError("sinabs", "bench") from None
    package: ModuleType = sinabs
    return package


def documented(net: Spiking, x: Tensor) -> list[Contender]:
    """Its converted network on batch x time images at once, as its examples run it."""
    return [Contender("all steps at once", "float32", lambda: _prepare(net, x))]


def _prepare(net: Spiking, x: Tensor) -> Run:
    require_plain(net)
    sinabs = module()
    thresholds = {name: site.threshold for name, site in net.plan.sites.items()}
    made = sinabs.from_torch.from_model(
        as_module(net.body, units=thresholds).to(x.device),
        input_shape=tuple(x.shape[1:]),
        batch_size=len(x),
        spike_fn=sinabs.activation.SingleSpike,
        min_v_mem=None,
    )
    layers = [part for part in made.modules() if isinstance(part, sinabs.layers.IAFSqueeze)]
    if len(layers) != len(thresholds):
        raise SimulationError(f"sinabs made {len(layers)} of {len(thresholds)} layers")
    for layer, threshold in zip(layers, thresholds.values(), strict=True):
        layer.spike_threshold.data = threshold.to(x)
    largest = max(math.prod(shape) for shape in net.body.shapes.values())
    at_once = max(1, LARGEST // (largest * len(x)))

    def run(steps: int) -> Tensor:
        made.reset_states()
        total = torch.zeros(())
        with torch.no_grad():
            for first in range(0, steps, at_once):
                length = min(at_once, steps - first)
                images = x[:, None].expand(-1, length, *x.shape[1:]).flatten(0, 1)
                total = total.to(x) + made.spiking_model(images).unflatten(0, (-1, length)).sum(1)
        return total / steps

    return run
