"""Whether a spiking network fits a chip, and what it would cost there."""
