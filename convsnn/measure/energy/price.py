"""Joules for rows of work: a set of constants, applied to numbers of certain widths."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convsnn.measure.energy.constants import Constants
from convsnn.measure.energy.rows import BY_SPIKES, Row

STATE_BITS = 16  # of a potential, or of an accumulator, of whole numbers (Speck has as many)
FLOAT_BITS = 32
ADDRESS_BITS = 32


@dataclass(frozen=True)
class Format:
    """How wide numbers are: `weight` and `value` bits in memory, `state` bits of potentials and
    accumulators; `floats` says what arithmetic is done in."""

    weight: int
    value: int
    floats: bool = False

    @property
    def state(self) -> int:
        """Bits of a potential, a bias or a threshold."""
        return FLOAT_BITS if self.floats else STATE_BITS


FP32 = Format(FLOAT_BITS, FLOAT_BITS, floats=True)
INT8 = Format(8, 8)


@dataclass(frozen=True)
class Price:
    """Joules of one image up to each step, (T,): what spikes cost, and what is there without."""

    by_spikes: Tensor
    fixed: Tensor

    @property
    def total(self) -> Tensor:
        """Both."""
        return self.by_spikes + self.fixed

    def __add__(self, other: "Price") -> "Price":
        return Price(self.by_spikes + other.by_spikes, self.fixed + other.fixed)


def price(rows: Sequence[Row], form: Format, constants: Constants) -> Price:
    """What `rows` cost together."""
    parts = [_row(row, form, constants) for row in rows]
    series = torch.broadcast_tensors(*(p for each in parts for p in (each.by_spikes, each.fixed)))
    return Price(torch.stack(series[::2]).sum(0), torch.stack(series[1::2]).sum(0))


def price_by_site(rows: Sequence[Row], form: Format, constants: Constants) -> Mapping[str, Price]:
    """What the rows of each site cost, those of several by their shares."""
    found: dict[str, Price] = {}
    for row in rows:
        whole = _row(row, form, constants)
        for site, share in row.owners.items():
            part = Price(whole.by_spikes * share, whole.fixed * share)
            found[site] = found[site] + part if site in found else part
    return found


def _row(row: Row, form: Format, constants: Constants) -> Price:
    spikes, fixed = torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for item, cost in _costs(row, form, constants).items():
        if item not in row.counts or not cost:
            continue
        if item in BY_SPIKES:
            spikes = spikes + row.counts[item] * cost
        else:
            fixed = fixed + row.counts[item] * cost
    return Price(spikes, fixed)


def _costs(row: Row, form: Format, constants: Constants) -> Mapping[str, float]:
    """Joules of one of each item."""
    floats = form.floats
    value_bits = form.value if row.value_bits is None else row.value_bits
    held = float(row.counts["values"].max()) if "values" in row.counts else 0.0
    add = constants.add(form.state, floats=floats)
    compare = constants.compare(form.state, floats=floats)
    weight_memory = constants.memory_bit(row.weights * form.weight / 8)
    state_memory = constants.memory_bit(row.state * form.state / 8)
    value_memory = constants.memory_bit(held * value_bits / 8)
    return {
        "synaptic_operations": add,
        "graded_operations": add + constants.multiply(form.weight, value_bits, floats=floats),
        "comparisons": compare,
        "resets": add,
        "biases": add,
        "kept_currents": add,
        "residual_sums": add,
        "pooling": compare,
        "products": constants.multiply(value_bits, value_bits, floats=floats),
        "lookups": constants.lookup(value_bits, floats=floats),
        "function_multiplications": constants.multiply(value_bits, value_bits, floats=floats),
        "function_additions": add,
        "scalings": constants.multiply(form.state, 8, floats=floats),
        "weights_read": form.weight * weight_memory,
        "state_accesses": form.state * state_memory,
        "addressing": constants.other("address"),
        "event_bits": constants.other("event_bit"),
        "values": value_bits * (constants.other("value_bit") + 2 * value_memory),
    }
