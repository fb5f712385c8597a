"""The work of one image, place by place: what every set of constants puts its prices on.

Counts are per image and series over the time steps, (T,); a network without time has one entry.
One memory model for all: a weight is fetched for every operation, a value that a layer reads is
written, moved and read once, a potential is read and written at every step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

ITEMS = {
    "synaptic_operations": "additions of a weight for a spike",
    "graded_operations": "multiply-accumulates for values that are no spikes",
    "neuron_updates": "steps of all neurons and outputs",
    "comparisons": "of potentials with thresholds, of values with zero, or inside functions",
    "resets": "subtractions of thresholds, one a spike",
    "biases": "additions of biases",
    "kept_currents": "additions of what is kept: the first layer's current, computed once, and "
    "what neurons in differential form have sent so far",
    "residual_sums": "additions where branches meet",
    "products": "multiplications of two moving values, as attention and gates have them",
    "lookups": "elementary functions (GELU, an exponential, a root), each off a table",
    "function_multiplications": "multiplications of softmax, norms and other functions",
    "function_additions": "additions of functions and products",
    "pooling": "additions or comparisons in pooling windows",
    "scalings": "multiplications by a leak, by 1/t in differential form, or to round a layer's "
    "values to its grid",
    "weights_read": "weights fetched, as operations need them",
    "weights_dense": "weights fetched if nothing were skipped (a bound, not priced)",
    "state_accesses": "potentials and kept currents read or written",
    "values": "dense values written, moved and read",
    "addressing": "additions that find weights and neurons",
    "event_bits": "bits of events moved",
}
BY_SPIKES = frozenset(  # they grow with the number of spikes; all others are there without any
    {"synaptic_operations", "graded_operations", "resets", "residual_sums", "weights_read",
     "addressing", "event_bits"}
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """What is done at one place, by item.

    `weights` and `state` are how many values the memories hold that these are read from,
    `value_bits` the width of values that are neither weights nor potentials (None: as the format
    has it). `owners` are the sites that the work is for, with their shares.
    """

    name: str
    counts: Mapping[str, Tensor]
    weights: int = 0
    state: int = 0
    value_bits: int | None = None
    owners: Mapping[str, float] = field(default_factory=dict)


def one(value: float) -> Tensor:
    """A count of a network without time, (1,)."""
    return torch.tensor([float(value)], dtype=torch.float64)


def totals(rows: Sequence[Row]) -> dict[str, Tensor]:
    """The sum over all places, by item; items that nowhere occur are left out."""
    found: dict[str, Tensor] = {}
    for name in ITEMS:
        parts = [row.counts[name] for row in rows if name in row.counts]
        if parts:
            found[name] = torch.stack(torch.broadcast_tensors(*parts)).sum(0)
    return found


def shared(weights: Mapping[str, float]) -> dict[str, float]:
    """`weights` as shares of one."""
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()} if total else {}
