"""What an artifact says of how it was made: which form each part must have to be believed.

A checksum tells that a file is as it was written, not that what was written makes sense. Every
part that a command computes with is therefore looked at once, when the file is opened. Parts that
are not known here may stand beside; those that a conversion writes are `COMPLETE`.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from convsnn.errors import LoadError
from convsnn.ranges import BATCH, COUNT, SEED, STEPS, VALUES

Check: TypeAlias = Callable[[object], bool]
LONGEST = 100_000  # letters; command lines are the longest texts
DEEPEST = 32  # levels of lists and objects in each other


def _text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST


def _whole(least: int, most: int) -> Check:
    def check(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most

    return check


def _one_of(*choices: object) -> Check:
    return lambda value: any(value is choice or value == choice for choice in choices)


def _or_null(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _amount(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= value <= 1e15  # type: ignore[operator]  # it is a number here


def _shape(value: object) -> bool:
    size = _whole(1, VALUES)
    return isinstance(value, list | tuple) and 0 < len(value) <= 8 and all(map(size, value))


def _object(value: object) -> bool:
    return isinstance(value, Mapping) and all(_text(key) for key in value)


_size = _whole(0, SEED)
FORM: Mapping[str, tuple[Check | Mapping[str, tuple[Check, str]], str]] = {
    "command": (_or_null(_text), "text"),
    "model": (
        {
            "name": (_text, "text"),
            "source": (_text, "text"),
            "sha256": (_text, "text"),
            "parameters": (_size, "a whole number of at least 0"),
            "thresholds": (_size, "a whole number of at least 0"),
            "input_shape": (_shape, "a list of sizes"),
        },
        "an object",
    ),
    "data": (_or_null(_text), "text"),
    "data_place": (
        {"given": (_text, "text"), "absolute": (_text, "text")},
        "an object",
    ),
    "preprocessing": (_or_null(_object), "an object"),
    "versions": (_or_null(_object), "an object"),
    "calibration": (
        {
            "source": (_text, "text"),
            "split": (_text, "text"),
            "samples": (_whole(0, COUNT), "a whole number of samples"),
        },
        "an object",
    ),
    "method": (
        {
            "calibration": (_text, "text"),
            "neuron": (_text, "text"),
            "encoder": (_text, "text"),
            "max_pool": (_one_of("exact", "current"), "exact or current"),
            "readout": (_text, "text"),
            "training": (_or_null(_object), "an object"),
        },
        "an object",
    ),
    "seed": (_whole(0, SEED), "a whole number of at least 0"),
    "timesteps": (_whole(1, STEPS), f"a whole number from 1 to {STEPS}"),
    "batch_size": (_whole(1, BATCH), f"a whole number from 1 to {BATCH}"),
    "engine": (
        {
            "precision": (
                _one_of("auto", "float32", "bfloat16", "int8"),
                "auto, float32, bfloat16 or int8",
            ),
            "weight_bits": (_or_null(_whole(2, 8)), "a number of bits"),
            "compile": (_one_of(None, True, False), "true, false or null"),
        },
        "an object",
    ),
    "samples": (_or_null(_whole(1, COUNT)), "a whole number of at least 1, or null"),
    "calibration_seconds": (_or_null(_amount), "a number of seconds"),
}
COMPLETE = ("model", "calibration", "method", "timesteps", "seed", "batch_size")
# what a report must have of those that are objects
_WITHIN = {
    "model": ("name", "source", "sha256", "parameters", "thresholds", "input_shape"),
    "calibration": ("source", "split", "samples"),
    "method": ("calibration", "neuron", "encoder", "max_pool"),
}


def check_provenance(provenance: Mapping[str, Any]) -> None:
    """Raise LoadError, naming the key, for a known part of another type or out of its range."""
    _require_shallow(provenance)
    for key, (form, wanted) in FORM.items():
        if key not in provenance:
            continue
        value = provenance[key]
        if not isinstance(form, Mapping):
            _require(form(value), key, value, wanted)
            continue
        _require(_object(value), key, value, wanted)
        for inner, (check, kind) in form.items():
            if inner in value:
                _require(check(value[inner]), f"{key}.{inner}", value[inner], kind)


def missing_from(provenance: Mapping[str, Any]) -> list[str]:
    """What of COMPLETE is not there, with the parts of objects."""
    found = [key for key in COMPLETE if key not in provenance]
    for key, inner in _WITHIN.items():
        if key in provenance:
            found += [f"{key}.{name}" for name in inner if name not in provenance[key]]
    return found


def _require(holds: bool, key: str, value: object, wanted: str) -> None:
    if not holds:
        shown = repr(value)
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        raise LoadError(f"its provenance says {key} = {shown}, which is not {wanted}")


def _require_shallow(value: object, level: int = 0) -> None:
    if level > DEEPEST:
        raise LoadError(f"its provenance is nested in more than {DEEPEST} levels")
    inner = value.values() if isinstance(value, Mapping) else value
    if isinstance(inner, list | tuple) or isinstance(value, Mapping):
        for item in inner:  # type: ignore[attr-defined]  # of a list or a mapping
            _require_shallow(item, level + 1)
