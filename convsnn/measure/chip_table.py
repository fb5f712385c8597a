"""What chips can hold, as data: one TOML file a chip, the source beside every figure.

name, about
spikes_only = true              the chip takes spikes, no currents, as input
neurons = ["if"]                the neuron models it runs (left out: any)
pools = ["avg_pool"]            the pools it runs (left out: any)
[limits.KEY]                    most, source, and confirmed = false where the source is quoted
                                but was not read for this table; KEY is one of `LIMITS`
[energy.KEY]                    joules, source, confirmed; KEY is synaptic_operation or
                                neuron_update
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convsnn.errors import LoadError
from convsnn.measure.shipped import read_table, shipped_names
from convsnn.registry import nearest

LIMITS = (
    "neurons", "synapses", "weight_bits", "layers", "neurons_per_layer", "weights_per_layer",
    "fan_in", "fan_out", "targets", "channels", "kernel", "map", "groups", "inputs", "outputs",
    "memory_bytes",
)  # fmt: skip
ENERGIES = ("synaptic_operation", "neuron_update")
_FORM = "see docs/chips.md, or a file of convsnn/measure/chips, for what it holds"


@dataclass(frozen=True)
class Figure:
    """A number of a chip and where it is from."""

    value: float
    source: str
    confirmed: bool


@dataclass(frozen=True)
class Chip:
    """What a chip can hold; `neurons` and `pools` are None where it takes any."""

    name: str
    about: str
    limits: Mapping[str, Figure]
    energy: Mapping[str, Figure]
    spikes_only: bool = False
    neurons: Sequence[str] | None = None
    pools: Sequence[str] | None = None


def chip_names() -> list[str]:
    """The chips that are known by name."""
    return shipped_names("chips")


def load_chip(text: str) -> Chip:
    """The chip of a name, or of a file `FILE.toml`; ConfigError for an unknown name, LoadError,
    naming the key, for a file that describes none."""
    return _chip(read_table(text, "chips", what="chip", form=_FORM), text)


def _chip(held: Mapping[str, Any], where: str) -> Chip:
    known = {"name": str, "about": str, "spikes_only": bool, "neurons": list, "pools": list,
             "limits": dict, "energy": dict}  # fmt: skip
    for key, value in held.items():
        if key not in known:
            raise LoadError(f"'{where}' has '{key}', which says nothing of a chip",
                            hint=nearest(key, known))  # fmt: skip
        if not isinstance(value, known[key]):
            raise LoadError(f"'{where}': '{key}' is of the wrong type", hint=_FORM)
    if not held.get("name"):
        raise LoadError(f"'{where}' does not name its chip", hint=_FORM)
    lists = {key: held.get(key) for key in ("neurons", "pools")}
    for key, names in lists.items():
        if names is not None and not all(isinstance(name, str) for name in names):
            raise LoadError(f"'{where}': '{key}' is no list of names", hint=_FORM)
    return Chip(
        held["name"],
        held.get("about", ""),
        _figures(held.get("limits", {}), LIMITS, "most", f"'{where}': limits"),
        _figures(held.get("energy", {}), ENERGIES, "joules", f"'{where}': energy"),
        held.get("spikes_only", False),
        **lists,
    )


def _figures(
    held: Mapping[str, Any], known: Sequence[str], number: str, where: str
) -> dict[str, Figure]:
    found = {}
    for key, entry in held.items():
        if key not in known:
            raise LoadError(f"{where} has the unknown figure '{key}'", hint=nearest(key, known))
        if not isinstance(entry, dict) or set(entry) - {number, "source", "confirmed"}:
            raise LoadError(f"{where}.{key} is not '{number}' and 'source'", hint=_FORM)
        value, source = entry.get(number), entry.get("source")
        number_given = isinstance(value, int | float) and not isinstance(value, bool)
        if not number_given or not 0 < float(value or 0) < math.inf:
            raise LoadError(f"{where}.{key}: '{number}' is not a positive number", hint=_FORM)
        if not isinstance(source, str) or not source:
            raise LoadError(f"{where}.{key} names no source", hint="say where the figure is from")
        found[key] = Figure(float(value or 0), source, entry.get("confirmed", True) is True)
    return found
