"""Recipes of LT-SNN: "Self-adaptive spiking neural network for event-based classification and
object detection".

Adam at 1e-3 along half a cosine over 200 epochs, potentials halved every step, the TET loss with a
weight of 0.45 (equation 12), 30 steps for DVS-CIFAR10, whose recordings become as many binary
frames of 48x48, each of the same length; a tenth of them is for the test. The short ones train the
network of LTMD's MNIST recipes without its lateral layers, so that both methods can be compared.
"""

from dataclasses import replace

from zoo.recipes.spiking import SpikingRecipe, enrol

_LT_SNN = SpikingRecipe(
    model="lt-snn-vgg9-dvscifar10",
    source="LT-SNN, table 4: VGG-9 on DVS-CIFAR10, T=30",
    threshold="lt-snn:initial=1.0",
    surrogate="triangle:gamma=1",
    decay=0.5,
    dropout="plain",
    p_drop=0.5,
    drop_behind="head.0",
    loss="tet:beta=0.45",
    timesteps=30,
    epochs=200,
    batch_size=32,
    held_out=0.0,
    note="dropout between the linear layers is in the authors' code, not in the paper",
)
_SHORT = replace(
    _LT_SNN,
    model="ltmd-mnist",
    data="mnist5k",
    timesteps=4,
    epochs=12,
    batch_size=64,
    learning_rate=2e-3,
    dropout="none",
    note="on 4,000 images of MNIST, with the network of LTMD's recipes",
)
_RESNET19 = replace(
    _LT_SNN,
    model="lt-snn-resnet19-cifar10",
    source="LT-SNN, table 4: ResNet-19 on CIFAR-10, T=6",
    timesteps=6,
    batch_size=128,
    augment="shift-flip",
    dropout="none",
    loss="tet:beta=0.95",
    note="the weight of the loss is that of the authors' script",
)

# what differs from the method itself, by row
_SCHEMES: dict[str, dict[str, str]] = {
    "fixed": {"threshold": "fixed:value=1.0"},
    "gpw-all": {"threshold": "lt-snn:initial=1.0,mode=gpw_all"},
    "sgp": {},
}
_PENALTIES = ("arctan", "triangle", "piecewise", "sigmoid")


def _rows(prefix: str, recipe: SpikingRecipe, ending: str) -> None:
    """Tables 2, 8 and 11 for one network and data set."""
    for name, changed in _SCHEMES.items():
        row = replace(recipe, source=f"LT-SNN, table 2{ending}: {name}")
        enrol(f"{prefix}-table2-{name}", row.override(changed))
    straight = replace(recipe, threshold="lt-snn:initial=1.0,mode=stsg")
    for rate, threshold_rate, label in (
        (0.1, 0.01, "fast-weights"),
        (1e-3, 0.01, "slow-threshold"),
    ):
        source = f"LT-SNN, table 8{ending}: rates {rate:g} and {rate * threshold_rate:g}"
        enrol(
            f"{prefix}-table8-{label}",
            replace(straight, learning_rate=rate, threshold_rate=threshold_rate, source=source),
        )
    enrol(
        f"{prefix}-table8-sgp",
        replace(recipe, learning_rate=1e-3, source=f"LT-SNN, table 8{ending}: SGP"),
    )
    for penalty in _PENALTIES:
        enrol(
            f"{prefix}-table11-{penalty}",
            replace(
                recipe,
                threshold=f"lt-snn:initial=1.0,gpw={penalty}",
                source=f"LT-SNN, table 11{ending}: {penalty}",
            ),
        )


enrol(
    "lt-snn-mnist-short-stsg",
    replace(
        _SHORT,
        threshold="lt-snn:initial=1.0,mode=stsg",
        source="LT-SNN, table 2 in short: stsg",
    ),
)
_rows("lt-snn-mnist-short", _SHORT, " in short")
_rows("lt-snn", _LT_SNN, "")
enrol("lt-snn-vgg9", _LT_SNN)
enrol(
    "lt-snn-vgg9-4bit",
    replace(_LT_SNN, weight_bits=4, source="LT-SNN, table 4: VGG-9 of 4 bits on DVS-CIFAR10, T=30"),
)
enrol(
    "lt-snn-vgg9-repo",
    replace(
        _LT_SNN,
        threshold="lt-snn:initial=1.0,mode=repo_sum",
        loss="tet:beta=0.55",
        source="LT-SNN, table 4: VGG-9, as the authors' code has it",
    ),
)
enrol("lt-snn-resnet19", _RESNET19)
