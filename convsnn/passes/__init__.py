"""Exact passes over a graph, in the order they are run."""

from convsnn.passes.base import TOLERANCE, apply_exact, explained, relative_gap, tolerance
from convsnn.passes.batch_norm import fold_batch_norm
from convsnn.passes.identity import remove_identities
from convsnn.passes.permutes import fold_permutes
from convsnn.passes.pool_order import pool_before_neuron
from convsnn.passes.scales import merge_scales
from convsnn.passes.spellings import join_pieces

EXACT = (remove_identities, fold_permutes, remove_identities, fold_batch_norm, merge_scales)

__all__ = [
    "EXACT",
    "TOLERANCE",
    "apply_exact",
    "explained",
    "join_pieces",
    "pool_before_neuron",
    "relative_gap",
    "tolerance",
]
