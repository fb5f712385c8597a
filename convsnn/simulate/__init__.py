"""Runs spiking networks in time steps."""

from convsnn.simulate.engine import PRECISIONS, Engine, Precision
from convsnn.simulate.fastest import fastest
from convsnn.simulate.loop import CHUNK_ELEMENTS, Observer, Simulation
from convsnn.simulate.program import Program
from convsnn.simulate.run import Run, simulate

__all__ = [
    "CHUNK_ELEMENTS",
    "PRECISIONS",
    "Engine",
    "Observer",
    "Precision",
    "Program",
    "Run",
    "Simulation",
    "fastest",
    "simulate",
]
