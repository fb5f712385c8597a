"""What an image costs: the ratios common in papers, and counts priced by sets of constants."""

from convsnn.measure.energy.constants import Constants, given_constants, load_constants, set_names
from convsnn.measure.energy.estimate import Asked, Estimate, Measured, estimate
from convsnn.measure.energy.formula import (
    AC_JOULES,
    MAC_JOULES,
    NOT_COUNTED,
    Layer,
    ann_joules,
    joules_per_operation,
    macs,
    paper_joules,
    weighted_layers,
)

__all__ = [
    "AC_JOULES",
    "MAC_JOULES",
    "NOT_COUNTED",
    "Asked",
    "Constants",
    "Estimate",
    "Layer",
    "Measured",
    "ann_joules",
    "estimate",
    "given_constants",
    "joules_per_operation",
    "load_constants",
    "macs",
    "paper_joules",
    "set_names",
    "weighted_layers",
]
