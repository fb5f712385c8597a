"""Recipes of LTMD: "Learning improvement of spiking neural networks with learnable thresholding
neurons and moderate dropout".

The paper's form stands first: lateral input from what was sent the step before, fully connected
layers that send potentials, moderate dropout between the two. The rows without it have no dropout
(the paper does not say what stands there) and `LIF` has the threshold that the learnable ones
start from. For CIFAR-10 the learning rate falls in the eight steps of the authors' code, 50 of 400
epochs each (fewer epochs shorten all alike), for MNIST along half a cosine. Recordings of events
become as many binary frames as there are time steps, each of the same length; how the authors bin
them is not published.
"""

from dataclasses import replace
from math import tanh

from convsnn.train.schedule import COSINE
from zoo.recipes.spiking import SpikingRecipe, enrol

_STAY, _LEARN = "thresholds that stay", "learnable"
START = 0.5  # of k, so that thresholds start at tanh(0.5) = 0.462
CIFAR10_K = (0.1, 0.3, 0.5, 0.7)  # four starts, as in figure 6, whose values are not printed
# 0.04, 0.01, 0.005, 0.001, 5e-4, 1e-4, 5e-5 and 1e-5, in parts of the first
EIGHT_STEPS = "steps:1/0.25/0.125/0.025/0.0125/0.0025/0.00125/0.00025"

_LTMD = SpikingRecipe(
    model="ltmd-mnist",
    source="LTMD, table 2: MNIST, T=4",
    threshold=f"ltmd:k={START}",
    surrogate="rectangle:width=1",
    decay=0.25,
    outputs="potential",
    lateral="recurrent",
    dropout="moderate",
    p_drop=0.2,
    drop_behind="head.relu",
    loss="twin-ce:gamma=0.5",
    augment="shift",
    batch_size=64,
    learning_rate=2e-3,
    epochs=10,
    held_out=0.02,
    note="optimizer and epochs are this project's, for 20 minutes of CPU",
)
_CIFAR10 = replace(
    _LTMD,
    model="ltmd-densenet-cifar10",
    source="LTMD, table 2: CIFAR-10, T=4",
    optimizer="sgd",
    learning_rate=0.04,
    weight_decay=1e-4,
    schedule=EIGHT_STEPS,
    epochs=400,
    augment="shift-flip",
    held_out=0.0,
    note="the learning rate rises over the first 20 updates, which the authors' does not",
)
_EVENTS = replace(
    _CIFAR10,
    augment="none",
    note=f"{_CIFAR10.note}; how events become frames and how training runs is not published",
)
_SHORT = replace(
    _LTMD, data="mnist5k", epochs=12, held_out=0.0, note="on 4,000 images of MNIST", augment="none"
)


def _fixed(recipe: SpikingRecipe, *, k: float = START) -> SpikingRecipe:
    """The recipe with thresholds that stay where the learnable ones start, without dropout."""
    return replace(_learnable(recipe, k=k), threshold=f"fixed:value={tanh(k)!r}")


def _learnable(recipe: SpikingRecipe, *, k: float = START) -> SpikingRecipe:
    """The recipe without dropout, thresholds starting from tanh(k)."""
    return replace(recipe, threshold=f"ltmd:k={k}", dropout="none", loss="mean-ce")


def _rows(prefix: str, recipe: SpikingRecipe, source: str) -> None:
    """The three rows that tables 3 and 4 compare."""
    enrol(f"{prefix}-lif", replace(_fixed(recipe), source=f"{source}, {_STAY}"))
    enrol(f"{prefix}-learnable", replace(_learnable(recipe), source=f"{source}, {_LEARN}"))
    enrol(f"{prefix}-dropout", replace(recipe, source=f"{source}, {_LEARN} with dropout"))


enrol("ltmd-mnist", _LTMD)
enrol("ltmd-cifar10", _CIFAR10)
for _data, _steps, _title in (("nmnist", 15, "N-MNIST"), ("dvscifar10", 7, "DVS-CIFAR10")):
    enrol(
        f"ltmd-{_data}",
        replace(
            _EVENTS, model=f"ltmd-densenet-{_data}", timesteps=_steps,
            source=f"LTMD, table 2: {_title}, T={_steps}",
        ),
    )  # fmt: skip
enrol(
    "ltmd-mnist-repo",
    replace(
        _LTMD,
        source="LTMD, table 2: MNIST, as the authors' code has it",
        outputs="gated",
        lateral="feedforward",
        strict=True,
        loss="twin-ce:gamma=0.5,kl=repo",
    ),
)
_rows("ltmd-mnist-short", _SHORT, "LTMD, table 3 in short: MNIST")
_rows("ltmd-table3-mnist", _LTMD, "LTMD, table 3: MNIST")
_rows("ltmd-table3-cifar10", _CIFAR10, "LTMD, table 3: CIFAR-10")

for _model, _place in (("resnet19", "head.1"), ("vgg16", "head.1")):
    _rows(
        f"ltmd-table4-{_model}",
        replace(
            _CIFAR10, model=f"lt-snn-{_model}-cifar10", lateral="none", drop_behind=_place,
            note=f"{_CIFAR10.note}; no lateral input, which these networks are not drawn with",
        ),
        f"LTMD, table 4: {_model}",
    )  # fmt: skip

for _k in (0.1, 0.3, 0.5, 1.0):
    _figure = f"LTMD, figure 5 in short: MNIST, k={_k}"
    enrol(
        f"ltmd-mnist-short-k{_k}-learnable",
        replace(_learnable(_SHORT, k=_k), source=f"{_figure}, {_LEARN}"),
    )
    enrol(
        f"ltmd-mnist-short-k{_k}-lif", replace(_fixed(_SHORT, k=_k), source=f"{_figure}, {_STAY}")
    )
for _k in CIFAR10_K:
    enrol(
        f"ltmd-figure6-k{_k}",
        _learnable(
            replace(
                _CIFAR10, model="ltmd-fc8-cifar10", epochs=50, learning_rate=0.01, augment="none",
                schedule=COSINE,
                source=f"LTMD, figure 6: eight fully connected layers, starting from k={_k}",
                note="the widths of the layers and the four starts are not in the paper",
            ),
            k=_k,
        ),
    )  # fmt: skip
