"""Neuron models, one file each; see `base` for the contract."""

from convsnn.neurons.base import NEURONS, Keys, Neuron, State
from convsnn.registry import import_siblings

import_siblings(__name__, __path__)

__all__ = ["NEURONS", "Keys", "Neuron", "State"]
