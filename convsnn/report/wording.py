"""Numbers as people read them; everything comes in as the report holds it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

COUNTED = "arithmetic alone (counted), ANN = 1"  # the energy ratio without an estimate


def percent(fraction: float | None) -> str:
    """0.9164 -> 91.64 %; a dash for None."""
    return "-" if fraction is None else f"{100 * fraction:.2f} %"


def points(difference: float | None) -> str:
    """A difference of fractions in percentage points: 0.0041 -> 0.41; a dash for None."""
    return "-" if difference is None else f"{100 * difference + 0.0:.2f}".replace("-0.00", "0.00")


def significant(value: float, digits: int = 3) -> str:
    """`value` rounded to `digits` significant digits, without an exponent where that is short."""
    rounded = float(f"{value:.{digits - 1}e}")
    if rounded == 0:
        return "0"
    size = math.floor(math.log10(abs(rounded)))
    if not -4 <= size < 6:
        return f"{rounded:.{digits - 1}e}"
    return f"{rounded:.{max(0, digits - 1 - size)}f}"


def counted(number: int, noun: str) -> str:
    """1 step, 2 steps."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def bound_in_points(bound: float) -> str:
    """What may be lost, as the user says it: 1 point, 0.5 points."""
    return f"{bound:g} point{'' if bound == 1 else 's'}"


def _scaled(value: float, steps: list[tuple[float, str]]) -> tuple[float, str]:
    for size, prefix in steps:
        if abs(value) >= size:
            return value / size, prefix
    return value / steps[-1][0], steps[-1][1]


def joules(value: float) -> str:
    """An energy with the fitting unit: 0.00142 -> 1.42 mJ."""
    if value == 0:
        return "0 J"
    units = [(1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ"), (1e-9, "nJ"), (1e-12, "pJ")]
    scaled, unit = _scaled(value, units)
    return f"{significant(scaled)} {unit}"


def amount(value: float) -> str:
    """A large count in three digits: 313200000 -> 313 M; small whole numbers as they are."""
    if abs(value) < 1000:
        return str(value) if isinstance(value, int) else significant(value)
    scaled, unit = _scaled(value, [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")])
    return f"{significant(scaled)} {unit}"


def shortened(name: str, width: int) -> str:
    """`name` on one line in at most `width` characters, its middle left out where it is longer."""
    line = "".join(c if c.isprintable() else " " for c in name)
    if len(line) <= width:
        return line
    tail = (width - 1) * 2 // 3
    return f"{line[: width - 1 - tail]}…{line[-tail:]}"


def module_path(name: str) -> str:
    """The name of a node as torch's older exporter writes it, as the module's own path:
    /blocks/blocks.0/act/Relu -> blocks.0.act.Relu; other names as they are."""
    parts = [part for part in name.split("/") if part]
    if not parts or not name.startswith("/"):
        return name
    behind = [*parts[1:], ""]
    return ".".join(
        p for p, after in zip(parts, behind, strict=True) if not after.startswith(f"{p}.")
    )


def distinct(names: Sequence[str]) -> list[str]:
    """`names` as paths of modules, without the dotted parts at either end that all share, unless
    numbers are left."""
    if len(names) < 2:
        return list(names)
    paths = [module_path(name) for name in names]
    parts = [path.split(".") for path in (paths if len({*paths}) == len({*names}) else names)]
    room = min(map(len, parts)) - 1
    first = parts[0]
    front = next((i for i in range(room) if any(p[i] != first[i] for p in parts)), room)
    room -= front
    back = next((i for i in range(room) if any(p[-1 - i] != first[-1 - i] for p in parts)), room)
    short = [".".join(p[front : len(p) - back]) for p in parts]
    whole = [".".join(p) for p in parts]
    return whole if any(name.isdigit() for name in short) else short  # "2" says nothing


def neurons_named(document: Mapping[str, Any]) -> str:
    """The neurons that stand in the layers of a report or a diagnosis: those that were asked for,
    and those that took their place where an activation or training needed others."""
    spec = str(document["method"]["neuron"])
    kinds = list(dict.fromkeys(layer["kind"] for layer in document["layers"]))
    return ", ".join(spec if kind == spec.partition(":")[0] else kind for kind in kinds) or spec
