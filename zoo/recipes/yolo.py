"""Recipes of LT-SNN's detector, table 6.

Adam at 1e-3 along half a cosine, potentials halved every step, equation 12 with YOLO's loss in the
place of the cross-entropy and 0.9 of it on the second part, as the authors' script has it. Frames
are binary; the number of steps and epochs is not published for Gen1 and taken from the other data.
The short ones train a small network on shapes that the project generates, by YOLO's loss of the
mean output alone: the second part draws every number of every cell towards the mean threshold.
The low ones start from a threshold that is too low.
"""

from dataclasses import replace

from zoo.recipes.spiking import SpikingRecipe, enrol

_LT_SNN = SpikingRecipe(
    model="lt-snn-yolo-gen1",
    source="LT-SNN, table 6: detector on Gen1",
    threshold="lt-snn:initial=1.0",
    surrogate="triangle:gamma=1",
    decay=0.5,
    loss="yolo:over=steps,beta=0.1",
    timesteps=10,
    epochs=50,
    batch_size=16,
    held_out=0.0,
    note="steps, epochs and the input's size are not published",
)
_SHORT = replace(
    _LT_SNN,
    model="lt-snn-yolo-short",
    data="shapes",
    loss="yolo",
    timesteps=4,
    epochs=6,
    batch_size=16,
    learning_rate=4e-3,
    note="on generated shapes of 32x32, with a small network",
)
enrol("lt-snn-yolo", _LT_SNN)
enrol(
    "lt-snn-yolo-fixed",
    replace(
        _LT_SNN,
        threshold="fixed:value=1.0",
        source="LT-SNN, table 6: detector with a fixed threshold",
    ),
)
for _name, _start in (("lt-snn-yolo-short", 1.0), ("lt-snn-yolo-short-low", 0.25)):
    _where = "LT-SNN, table 6 in short" + ("" if _start == 1 else f", from {_start:g}")
    enrol(
        _name,
        replace(
            _SHORT,
            threshold=f"lt-snn:initial={_start}",
            source=f"{_where}: learnable threshold",
        ),
    )
    enrol(
        f"{_name}-fixed",
        replace(_SHORT, threshold=f"fixed:value={_start}", source=f"{_where}: fixed threshold"),
    )
