"""The calibration that is used where the user names none: untuned, for any number of steps.

Chosen by the error of the outputs on training images held out from calibration, on several
networks (zoo/RESULTS.md), never on test images.
"""

from convsnn.neurons import NEURONS
from convsnn.neurons.base import sends_changes
from convsnn.registry import split_spec

# Plain soft-reset neurons: thresholds of least error for ten steps, then weights that answer the
# spikes that arrive.
ANY_TIME = "mse+weights"
# Networks that fire layer by layer: thresholds for the T that is asked for, and weights behind
# them; whatever the neuron, for all of them send what a quantiser does.
LAYERS = "mse+weights"
# Networks with functions or products: weights are left alone, what codes is fitted beside.
SMOOTH = "mse+coding"
# Neurons that send the nearest size: half a threshold at the start would be too much. Step by step
# fitted weights make good for it, and for more, unless a spike changes the mean: from four steps on
# that was closer without (a network of random weights and a residual).
NEAREST = "mse:potential=0"
_BY_NEURON = {
    "burst": "mse:steps=2",  # many levels a step already; the refit has nothing left to mend
    "msat": "max",  # V_max of the paper, which the neuron lowers by itself
    "signed": "mse",  # it takes wrong spikes back by itself
    "tsc": "percentile:q=99.9+tsc",  # many levels, so that clipping costs more than they are wide
}


def default_stages(neuron: str, schedule: str = "steps", *, smooth: bool = False) -> str:
    """The stages for a neuron such as `if` or `msat:set=vgg16`, as `--calibrate` takes them.

    `smooth` says that the network has functions or products.
    """
    name, options = split_spec(neuron)
    nearest = name == "levels"
    if smooth:
        return f"{NEAREST}+coding" if nearest else SMOOTH
    if schedule == "layers":
        return NEAREST if nearest else LAYERS
    if name == "if" and options.get("reset") == "zero":
        return "mse"  # what a reset throws away no weight brings back
    if nearest and sends_changes(NEURONS.create(neuron, threshold=1.0)):
        return NEAREST
    return _BY_NEURON.get(name, ANY_TIME)
