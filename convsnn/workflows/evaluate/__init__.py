"""Scoring a spiking network on images it has not seen."""
