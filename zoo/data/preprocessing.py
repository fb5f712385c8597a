"""How raw samples become what the network was trained on: the settings, and nothing that runs."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from convsnn.errors import ConfigError
from convsnn.ranges import LARGE, SIDE, SMALL
from convsnn.registry import nearest
from zoo.data.binning import Binning

Layout = Literal["auto", "nchw", "nhwc", "flat"]


def _is_number(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and abs(value) <= LARGE  # type: ignore[arg-type]


def _is_numbers(value: object) -> bool:
    return isinstance(value, tuple) and all(map(_is_number, value))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_size(value: object) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) in (1, 2)
        and all(isinstance(v, int) and not isinstance(v, bool) and 0 < v <= SIDE for v in value)
    )


@dataclass(frozen=True)
class Preprocessing:
    """(resized raw value / scale - mean) / std, then the axes in the network's order.

    `scale`: None stands for the data set's own (255 for uint8, 1 for float).
    `mean`, `std`: one number, one per channel, or () for none; they apply after scaling.
    `resize`: (size,) brings the shorter side to `size` and cuts the network's size from the
    centre; (height, width) resizes to exactly that; antialiased bilinear.
    `layout`: the order of the network's input axes. "flat" fills the input shape with the values
    in channel, row, column order; "auto" finds the order from the shapes.
    `binning`: how lists of events become frames; None for the usual way.
    `frames`: of how many frames an image is the mean where the data are recordings or sequences,
    and the network is shown images; None where nobody says.
    ConfigError where a value has the wrong type or cannot be used.
    """

    scale: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    resize: tuple[int, ...] | None = None
    layout: Layout = "auto"
    binning: Binning | None = None
    frames: int | None = None

    def __post_init__(self) -> None:
        expected = {
            "scale": (
                self.scale is None or (_is_number(self.scale) and self.scale >= SMALL),
                "a positive number",
            ),
            "mean": (_is_numbers(self.mean), "finite numbers"),
            "std": (
                _is_numbers(self.std) and all(v >= SMALL for v in self.std),
                "positive numbers",
            ),
            "resize": (
                self.resize is None or _is_size(self.resize),
                f"one or two whole numbers from 1 to {SIDE}",
            ),
            "layout": (
                isinstance(self.layout, str) and self.layout in get_args(Layout),
                f"one of {', '.join(get_args(Layout))}",
            ),
            "binning": (self.binning is None or isinstance(self.binning, Binning), "a Binning"),
            "frames": (self.frames is None or _is_count(self.frames), "a whole number from 1"),
        }
        for name, (usable, wanted) in expected.items():
            if not usable:
                raise ConfigError(
                    f"preprocessing: {name}={getattr(self, name)!r} is not usable; "
                    f"expected {wanted}"
                )

    def override(self, **given: Any) -> "Preprocessing":
        """The same settings with the given ones replaced, except where they are None."""
        return replace(self, **{k: v for k, v in _read(given).items() if v is not None})

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain JSON values that `from_json` reads back."""
        known = asdict(self)
        if self.frames is None:  # as it was written before there was such a thing
            del known["frames"]
        return {k: list(v) if isinstance(v, tuple) else v for k, v in known.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """Read what `to_json` wrote; ConfigError for unknown keys and wrong types."""
        if not isinstance(values, Mapping):
            raise ConfigError(f"preprocessing must be an object, not {type(values).__name__}")
        return cls(**_read(values))


def _read(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as the fields have them; ConfigError for names that are none."""
    _check_names(values)
    read: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    if isinstance(read.get("binning"), Mapping):
        read["binning"] = _binning(read["binning"])
    return read


def _binning(values: Mapping[str, Any]) -> Binning:
    known = [f.name for f in fields(Binning)]
    for name in values:
        if name not in known:
            raise ConfigError(f"binning has no '{name}'", hint=nearest(str(name), known))
    return Binning(**values)


def _check_names(given: Mapping[str, Any]) -> None:
    known = [f.name for f in fields(Preprocessing)]
    for name in given:
        if name not in known:
            raise ConfigError(f"preprocessing has no '{name}'", hint=nearest(str(name), known))
