"""Training spiking networks from the start."""
