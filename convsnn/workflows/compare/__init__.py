"""One network, every method of conversion and training, one table."""

from convsnn.workflows.compare.comparison import PAGE, Comparison, compare

__all__ = ["PAGE", "Comparison", "compare"]
