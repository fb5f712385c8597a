"""Which constants of a recipe can be searched, and a recipe with other ones.

Those of threshold annealing's appendix D: leak, slope of the surrogate, learning rate, clipping of
gradients and weights, dropout, and of every layer's threshold its value, or where it starts, how
many times that its end is and how fast it gets there. What a recipe does not have is not searched.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from convsnn.errors import ConfigError
from convsnn.registry import split_spec
from convsnn.train.form import EACH
from zoo.recipes.spiking import SpikingRecipe

DIGITS = 4
Values = Mapping[str, float | bool]


@dataclass(frozen=True)
class Range:
    """Where a number is searched; by its logarithm where `log`."""

    low: float
    high: float
    log: bool = True


_THRESHOLDS = {
    "fixed": {"value": Range(0.2, 30.0)},
    "anneal": {"start": Range(0.2, 20.0), "rise": Range(1.0, 8.0), "rate": Range(1e-4, 0.3)},
}


def space_of(recipe: SpikingRecipe) -> dict[str, Range | None]:
    """What is searched by name; None stands for yes or no. ConfigError for neurons without leak,
    whose constants are no free numbers."""
    if recipe.dynamics != "plain" or not recipe.held_out:
        raise ConfigError(
            "a search needs leaky neurons and training samples held out to judge by",
            hint="set held_out=0.2, with a recipe such as annealing-mnist-short-annealed",
        )
    space: dict[str, Range | None] = {
        "decay": Range(0.1, 0.99, log=False),
        "learning_rate": Range(1e-4, 3e-2),
        "clip": None,
        "weight_limit": None,
    }
    if split_spec(recipe.surrogate)[0] == "fast-sigmoid":
        space["slope"] = Range(0.1, 12.0)
    if recipe.dropout != "none":
        space["p_drop"] = Range(0.01, 0.9, log=False)
    for layer, spec in enumerate(recipe.rules):
        for key, known in _THRESHOLDS.get(split_spec(spec)[0], {}).items():
            space[f"layer {layer + 1} {key}"] = known
    return space


def with_constants(recipe: SpikingRecipe, values: Values) -> SpikingRecipe:
    """`recipe` with these constants, rounded to DIGITS significant digits."""
    known = {name: v if isinstance(v, bool) else float(f"{v:.{DIGITS}g}") for name, v in
             values.items()}  # fmt: skip
    rules = []
    for layer, spec in enumerate(recipe.rules):
        name, options = split_spec(spec)
        own = {key: known[f"layer {layer + 1} {key}"] for key in _THRESHOLDS.get(name, {})}
        if "rise" in own:
            own["end"] = float(f"{own['start'] * own.pop('rise'):.{DIGITS}g}")
        text = ",".join(f"{key}={value}" for key, value in {**options, **own}.items())
        rules.append(f"{name}:{text}" if text else name)
    surrogate = f"fast-sigmoid:slope={known['slope']}" if "slope" in known else recipe.surrogate
    return replace(
        recipe,
        threshold=EACH.join(rules),
        surrogate=surrogate,
        decay=float(known["decay"]),
        learning_rate=float(known["learning_rate"]),
        p_drop=float(known.get("p_drop", recipe.p_drop)),
        clip=1.0 if known["clip"] else None,
        weight_limit=1.0 if known["weight_limit"] else None,
    )
