"""Fitting a neuron's constants to a network, on training images only."""

from convsnn.workflows.tune.search import Tuned, tune

__all__ = ["Tuned", "tune"]
