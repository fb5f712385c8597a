"""Other packages that run converted networks, each behind the same few names; imported lazily."""

from convsnn.workflows.bench.peers.base import Contender, Run
from convsnn.workflows.bench.peers.engines import ENGINES, OURS, PEERS, contenders

__all__ = ["ENGINES", "OURS", "PEERS", "Contender", "Run", "contenders"]
