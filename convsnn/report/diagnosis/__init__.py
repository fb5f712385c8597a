"""Where the error of a spiking network comes from, and what to try."""
