"""One network, every method of conversion and training, one table."""

from convsnn.workflows.compare.comparison import Comparison, compare

__all__ = ["Comparison", "compare"]
