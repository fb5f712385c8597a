"""How the texts of options are read."""

import math
from typing import Any, Literal

from convsnn.errors import ConfigError
from convsnn.ranges import VALUES
from zoo.data import Binning


def numbers(text: str, option: str) -> tuple[float, ...]:
    """`0.485,0.456,0.406` as numbers; ConfigError names the option otherwise."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"{option} {text} is not a list of numbers", hint="like 0.5,0.5"
        ) from None


def names(text: str) -> list[str]:
    """`spikingjelly,sinabs` as names, none of them empty."""
    return [name.strip() for name in text.split(",") if name.strip()]


def sizes(text: str, option: str) -> tuple[int, ...]:
    """`3,32,32` as positive whole numbers; ConfigError names the option otherwise."""
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        raise ConfigError(
            f"{option} {text} is not a list of positive whole numbers", hint="like 3,32,32"
        )
    return found


def shape(text: str | None) -> tuple[int, ...] | None:
    """What --input-shape says, None where it is not given."""
    found = None if text is None else sizes(text, "--input-shape")
    if found is not None and math.prod(found) > VALUES:
        raise ConfigError(f"--input-shape {text} has more than {VALUES} values")
    return found


def preprocessing(
    *,
    scale: float | None,
    mean: str | None,
    std: str | None,
    resize: str | None,
    layout: str | None,
) -> dict[str, Any]:
    """What the user gave, to stand in place of a model's own: see `Preprocessing.override`."""
    return {
        "scale": scale,
        "mean": None if mean is None else numbers(mean, "--mean"),
        "std": None if std is None else numbers(std, "--std"),
        "resize": None if resize is None else sizes(resize, "--resize"),
        "layout": layout,
    }


def binning(by: str | None, value: Literal["binary", "count", "share"] | None) -> Binning | None:
    """What --frames-by and --frame-value say, None where neither is given."""
    if by is None and value is None:
        return None
    width: Any = int(by) if by is not None and by.isdigit() else by or "time"
    return Binning(width, value or "count")
