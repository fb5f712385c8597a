"""Fitting a neuron's constants to a network, on training images only."""
