"""The op table, one file per family of ops; see `base`."""

from convsnn.graph.ops.base import OPS, Op, Role, op
from convsnn.registry import import_siblings

import_siblings(__name__, __path__)

__all__ = ["OPS", "Op", "Role", "op"]
