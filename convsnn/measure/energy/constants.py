"""What one operation costs, as data: one TOML file a set, the source beside every figure.

name, about
[operations.KEY]                joules, source, and bits where the cost grows with the width;
                                confirmed = false where the source is quoted but was not read.
                                KEY is one of `OPERATIONS`
[[memory]]                      bytes, joules_per_bit, source: a bit read from or written to a
                                memory of that size. Between two sizes the cost lies on a line,
                                below the smallest it is that one's, and beyond the largest the
                                last line goes on; a set with one entry has one cost

A `multiply` of w by b bits costs joules * (w b) / bits^2, an `add` of n bits joules * n / bits
(Horowitz's figures for 8 and 32 bits lie on these lines), or joules whatever the width where no
bits are given. Whatever a set does not have costs nothing in it, and it says so.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from convsnn.errors import ConfigError, LoadError
from convsnn.measure.shipped import read_table, shipped_names
from convsnn.registry import nearest

OPERATIONS = {
    "add_float": "an addition of 32-bit floats",
    "multiply_float": "a multiplication of 32-bit floats",
    "add": "an addition of whole numbers",
    "multiply": "a multiplication of whole numbers",
    "compare": "a comparison (left out: an addition)",
    "lookup": "an elementary function, such as an exponential or a root (left out: a line between "
    "two entries of a table, which is a multiplication and an addition)",
    "address": "an addition that finds a weight's or neuron's place",
    "event_bit": "a bit of an event moved on the chip",
    "value_bit": "a bit of a dense value moved on the chip",
}
TABLE = 256  # entries of an elementary function's table
_FOLDER = "energy/sets"
_FORM = "see convsnn/measure/energy/constants.py, or a file of energy/sets, for what it holds"
_KEYS = {"name": str, "about": str, "operations": dict, "memory": list}


@dataclass(frozen=True)
class Figure:
    """A cost in joules and where it is from; `bits` is the width it was given for."""

    joules: float
    source: str
    confirmed: bool = True
    bits: int | None = None


@dataclass(frozen=True)
class Memory:
    """What a bit costs in a memory of `size` bytes."""

    size: float
    joules_per_bit: float
    source: str
    confirmed: bool = True


@dataclass(frozen=True)
class Constants:
    """A set of constants."""

    name: str
    about: str
    operations: Mapping[str, Figure]
    memory: Sequence[Memory] = ()

    @property
    def knows_floats(self) -> bool:
        """Whether networks of floats can be priced."""
        return "add_float" in self.operations and "multiply_float" in self.operations

    def add(self, bits: int, *, floats: bool) -> float:
        """An addition; floats are of 32 bits."""
        return self._cost("add_float") if floats else self._scaled("add", bits)

    def compare(self, bits: int, *, floats: bool) -> float:
        """A comparison, which is an addition where the set does not say otherwise."""
        if "compare" in self.operations:
            return self._scaled("compare", bits)
        return self.add(bits, floats=floats)

    def multiply(self, one: int, other: int, *, floats: bool) -> float:
        """A multiplication of numbers of `one` and `other` bits."""
        if floats:
            return self._cost("multiply_float")
        bits = self.operations["multiply"].bits if "multiply" in self.operations else None
        return self._cost("multiply") * (1.0 if bits is None else one * other / bits**2)

    def lookup(self, bits: int, *, floats: bool) -> float:
        """An elementary function of a number of `bits`: a table's two entries nearest to it are
        read, and the line between them, where the set does not say otherwise."""
        if "lookup" in self.operations:
            return self._scaled("lookup", bits)
        line = self.multiply(bits, bits, floats=floats) + self.add(bits, floats=floats)
        return line + 2 * bits * self.memory_bit(TABLE * bits / 8)

    def other(self, key: str) -> float:
        """`address`, `event_bit` or `value_bit`."""
        return self._cost(key)

    def memory_bit(self, size: float) -> float:
        """A bit read from, or written to, a memory of `size` bytes."""
        points = self.memory
        if not points:
            return 0.0
        if size <= points[0].size or len(points) == 1:
            return points[0].joules_per_bit
        for low, high in pairwise(points):
            if size <= high.size or high is points[-1]:
                slope = (high.joules_per_bit - low.joules_per_bit) / (high.size - low.size)
                return low.joules_per_bit + slope * (size - low.size)
        raise AssertionError("points are sorted and more than one")

    def left_out(self) -> list[str]:
        """What the set charges nothing for."""
        missing = []
        if not self.memory:
            missing.append("reading and writing of weights, potentials and values")
        if "address" not in self.operations:
            missing.append("addressing")
        if "event_bit" not in self.operations:
            missing.append("movement on the chip")
        return missing

    def _cost(self, key: str) -> float:
        return self.operations[key].joules if key in self.operations else 0.0

    def _scaled(self, key: str, bits: int) -> float:
        given = self.operations[key].bits if key in self.operations else None
        return self._cost(key) * (1.0 if given is None else bits / given)


def set_names() -> list[str]:
    """The sets that are known by name."""
    return shipped_names(_FOLDER)


def load_constants(text: str) -> Constants:
    """The set of a name, or of a file `FILE.toml`; ConfigError for an unknown name, LoadError,
    naming the key, for a file that is none."""
    held = read_table(text, _FOLDER, what="set of energy constants", form=_FORM)
    return _constants(held, text)


def given_constants(mac_pj: float, ac_pj: float) -> Constants:
    """The set that the user gives by two numbers, in picojoules: a multiply-accumulate and an
    addition, of any format; ConfigError where they are no costs."""
    for name, value in (("--mac-pj", mac_pj), ("--ac-pj", ac_pj)):
        if not 0 < value < math.inf:
            raise ConfigError(f"{name} is a positive number of picojoules, not {value:g}")
    if mac_pj < ac_pj:
        raise ConfigError(
            f"--mac-pj {mac_pj:g} is less than --ac-pj {ac_pj:g}, but a multiply-accumulate "
            "contains an addition",
            hint="give the multiply-accumulate with --mac-pj and the addition with --ac-pj",
        )
    add = Figure(ac_pj * 1e-12, "--ac-pj")
    multiply = Figure((mac_pj - ac_pj) * 1e-12, "--mac-pj less --ac-pj")
    operations = {"add": add, "add_float": add, "multiply": multiply, "multiply_float": multiply}
    return Constants("given", f"{mac_pj:g} pJ a MAC and {ac_pj:g} pJ an addition", operations)


def _constants(held: Mapping[str, Any], where: str) -> Constants:
    for key, value in held.items():
        if key not in _KEYS:
            raise LoadError(f"'{where}' has '{key}', which is no part of a set of energy constants",
                            hint=nearest(key, _KEYS))  # fmt: skip
        if not isinstance(value, _KEYS[key]):
            raise LoadError(f"'{where}': '{key}' is of the wrong type", hint=_FORM)
    if not held.get("name"):
        raise LoadError(f"'{where}' does not name its set", hint=_FORM)
    operations = {
        key: _figure(key, entry, f"'{where}': operations.{key}")
        for key, entry in held.get("operations", {}).items()
    }
    for need in ("add", "multiply"):
        if need not in operations:
            raise LoadError(f"'{where}' has no operations.{need}", hint=_FORM)
    memory = [_memory(entry, f"'{where}': memory") for entry in held.get("memory", ())]
    memory.sort(key=lambda point: point.size)
    if any(one.size == other.size for one, other in pairwise(memory)):
        raise LoadError(f"'{where}' has two costs for a memory of one size", hint=_FORM)
    if any(one.joules_per_bit > other.joules_per_bit for one, other in pairwise(memory)):
        raise LoadError(f"'{where}': a larger memory costs less than a smaller one", hint=_FORM)
    return Constants(held["name"], held.get("about", ""), operations, tuple(memory))


def _figure(key: str, entry: Any, where: str) -> Figure:
    if key not in OPERATIONS:
        raise LoadError(f"{where} is an unknown operation", hint=nearest(key, OPERATIONS))
    _require(entry, {"joules", "source", "confirmed", "bits"}, where)
    bits = entry.get("bits")
    if bits is not None and (not isinstance(bits, int) or isinstance(bits, bool) or bits < 1):
        raise LoadError(f"{where}: 'bits' is no positive whole number", hint=_FORM)
    return Figure(_positive(entry, "joules", where), *_origin(entry, where), bits)


def _memory(entry: Any, where: str) -> Memory:
    _require(entry, {"bytes", "joules_per_bit", "source", "confirmed"}, where)
    size = _positive(entry, "bytes", where)
    return Memory(size, _positive(entry, "joules_per_bit", where), *_origin(entry, where))


def _require(entry: Any, known: set[str], where: str) -> None:
    if not isinstance(entry, dict) or set(entry) - known:
        raise LoadError(f"{where} may hold {', '.join(sorted(known))}, nothing else", hint=_FORM)


def _positive(entry: Mapping[str, Any], key: str, where: str) -> float:
    value = entry.get(key)
    given = isinstance(value, int | float) and not isinstance(value, bool)
    if not given or not 0 < float(value or 0) < math.inf:
        raise LoadError(f"{where}: '{key}' is not a positive number", hint=_FORM)
    return float(value or 0)


def _origin(entry: Mapping[str, Any], where: str) -> tuple[str, bool]:
    source = entry.get("source")
    if not isinstance(source, str) or not source:
        raise LoadError(f"{where} names no source", hint="say where the figure is from")
    return source, entry.get("confirmed", True) is True
