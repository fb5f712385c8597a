"""Turns trained ReLU networks into calibrated spiking networks."""
