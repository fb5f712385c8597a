"""Runs spiking networks in time steps."""

from convsnn.simulate.engine import PRECISIONS, Engine, Precision
from convsnn.simulate.fastest import fastest
from convsnn.simulate.glimpse import Glimpse, Trains, glimpse
from convsnn.simulate.loop import CHUNK_ELEMENTS, Observer, Simulation
from convsnn.simulate.module import NetworkState, SpikingModule
from convsnn.simulate.program import Program
from convsnn.simulate.recording import Recording, record
from convsnn.simulate.run import Run, read_out, simulate

__all__ = [
    "CHUNK_ELEMENTS",
    "PRECISIONS",
    "Engine",
    "Glimpse",
    "NetworkState",
    "Observer",
    "Precision",
    "Program",
    "Recording",
    "Run",
    "Simulation",
    "SpikingModule",
    "Trains",
    "fastest",
    "glimpse",
    "read_out",
    "record",
    "simulate",
]
