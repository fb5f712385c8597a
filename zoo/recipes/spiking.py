"""What a recipe for training a spiking network from the start says, and how one is read.

The recipes of a paper are one file of this folder, which enrols them with `enrol`. A recipe is
named after the table or figure it is a row of; one that ends in a few minutes on a CPU has `short`
in its name. A user's own is a .toml or .json file with the same keys, or with `base`, the name of
a recipe, and what differs from it.
"""

import json
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from convsnn.errors import ConfigError, LoadError
from convsnn.registry import nearest
from convsnn.train import LOSSES
from convsnn.train.form import Form
from convsnn.train.samples import Augmentation
from convsnn.train.schedule import COSINE
from convsnn.train.settings import Settings
from zoo.data.binning import Binning, By, Value
from zoo.models import MODELS


@dataclass(frozen=True, kw_only=True)
class SpikingRecipe(Form):
    """How a network of the zoo, `model`, is trained as a spiking one; see `Form` for its neurons.

    `data` is None where the user has to name it. `source` is the row of the paper and `note` what
    is otherwise here than there. Lists of events become a frame a time step, `frames_by` time,
    count or width, with `frame_value` in each pixel (see `zoo.data.binning`). Thresholds learn at
    `threshold_rate` times the learning rate; weights are kept within `weight_limit` of 0. The
    other keys are those of `Settings`. Raises ConfigError for values that cannot be.
    """

    model: str
    source: str = ""
    note: str = ""
    data: str | None = None
    training_samples: int | None = None
    frames_by: By | int = "time"
    frame_value: Value = "binary"
    timesteps: int = 4
    loss: str = "mean-ce"
    epochs: int = 10
    batch_size: int = 50
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    schedule: str = COSINE
    threshold_rate: float = 1.0
    weight_decay: float = 0.0
    clip: float | None = None
    weight_limit: float | None = None
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    augment: Augmentation = "none"
    held_out: float = 0.1
    patience: int | None = None
    minutes: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.timesteps < 1:
            raise ConfigError(f"timesteps must be at least 1, not {self.timesteps}")
        if self.training_samples is not None and self.training_samples < 2:
            raise ConfigError(f"training_samples must be at least 2, not {self.training_samples}")
        if not 0 <= self.threshold_rate < float("inf"):
            raise ConfigError(f"threshold_rate must be at least 0, not {self.threshold_rate}")
        if self.weight_limit is not None and not 0 < self.weight_limit < float("inf"):
            raise ConfigError(f"weight_limit must be positive, not {self.weight_limit}")
        MODELS.get(self.model)
        LOSSES.create(self.loss)
        self.settings()
        self.binning()

    def binning(self) -> Binning:
        """How lists of events become frames."""
        return Binning(self.frames_by, self.frame_value)

    def settings(self) -> Settings:
        """What the training loop is asked for."""
        return Settings(
            steps=self.timesteps,
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimizer=self.optimizer,
            learning_rate=self.learning_rate,
            schedule=self.schedule,
            weight_decay=self.weight_decay,
            clip=self.clip,
            precision=self.precision,
            held_out=self.held_out,
            patience=self.patience,
            minutes=self.minutes,
            seed=self.seed,
        )

    def to_json(self) -> dict[str, Any]:
        """All keys in plain JSON values."""
        return asdict(self)

    def override(self, values: Mapping[str, Any]) -> "SpikingRecipe":
        """The recipe with other values; ConfigError names a key that there is none of, or whose
        value is of another kind."""
        return replace(self, **_checked(values))


RECIPES: dict[str, SpikingRecipe] = {}


def enrol(name: str, recipe: SpikingRecipe) -> SpikingRecipe:
    """Make `recipe` known by `name`."""
    if name in RECIPES:
        raise ValueError(f"recipe '{name}' is enrolled twice")
    RECIPES[name] = recipe
    return recipe


def find_recipe(text: str) -> SpikingRecipe:
    """The recipe called `text`, or the one in the .toml or .json file of that name.

    ConfigError names the nearest where there is none; LoadError for a file that cannot be read.
    """
    if Path(text).suffix in (".toml", ".json"):
        return _from_file(Path(text))
    if text not in RECIPES:
        raise ConfigError(f"unknown recipe '{text}'", hint=nearest(text, RECIPES))
    return RECIPES[text]


def parsed(assignments: typing.Iterable[str]) -> dict[str, Any]:
    """`key=value` texts as values: numbers, true and false as TOML has them, else text."""
    found: dict[str, Any] = {}
    for text in assignments:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not key or not value:
            raise ConfigError(f"'{text}' is not KEY=VALUE", hint="write --set epochs=3")
        try:
            found[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[key] = value
    return found


def _from_file(path: Path) -> SpikingRecipe:
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except OSError as error:
        raise LoadError(f"recipe '{path}' cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # what both readers raise
        kind = path.suffix[1:].upper()
        raise LoadError(f"recipe '{path}' is no {kind} file: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"recipe '{path}' holds no keys and values")
    base = values.pop("base", None)
    try:
        if base is not None:
            if not isinstance(base, str) or base not in RECIPES:
                raise ConfigError(f"unknown base '{base}'", hint=nearest(str(base), RECIPES))
            return RECIPES[base].override(values)
        checked = _checked(values)
        if "model" not in checked:
            raise ConfigError("it names no model", hint='add model = "ltmd-mnist", or a base')
        return SpikingRecipe(**checked)
    except ConfigError as error:
        raise ConfigError(f"recipe '{path}': {error}", hint=error.hint) from None


def _checked(values: Mapping[str, Any]) -> dict[str, Any]:
    kinds = typing.get_type_hints(SpikingRecipe)
    known = {field.name: kinds[field.name] for field in fields(SpikingRecipe)}
    found = {}
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"a recipe has no key '{key}'", hint=nearest(key, known))
        found[key] = _fitting(key, value, known[key])
    return found


def _fitting(key: str, value: Any, kind: Any) -> Any:
    """`value` as `kind` has it; ConfigError where it is none."""
    members = get_args(kind) if get_origin(kind) in (types.UnionType, typing.Union) else (kind,)
    choices = [choice for m in members if get_origin(m) is Literal for choice in get_args(m)]
    if value in choices and not isinstance(value, bool):
        return value
    if types.NoneType in members and (value is None or value == "none"):
        return None
    if isinstance(value, bool):
        fits = bool in members
    elif isinstance(value, int) and float in members:
        return float(value)
    else:
        fits = type(value) in members
    if fits:
        return value
    wanted = [*map(str, choices), *(_WORDS[m] for m in members if m in _WORDS)]
    close = nearest(str(value), wanted) if choices else ""
    raise ConfigError(f"{key} is {' or '.join(wanted)}, not {value!r}", hint=close)


_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    types.NoneType: "none",
}
