"""How fast networks are simulated, beside the packages people use today."""

from convsnn.workflows.bench.run import Benchmark, bench
from convsnn.workflows.bench.settings import Settings

__all__ = ["Benchmark", "Settings", "bench"]
