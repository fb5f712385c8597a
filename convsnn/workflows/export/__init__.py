"""A spiking network in formats that others run."""
