"""How each ATen op of an exported torch program is written in our ops; one family per file.

A lowering is a function of the op's schema arguments by name, so that the defaults are torch's.
"""

from convsnn.load.aten.base import LOWERINGS, Lowering
from convsnn.load.aten.walk import lower
from convsnn.registry import import_siblings

import_siblings(__name__, __path__)

__all__ = ["LOWERINGS", "Lowering", "lower"]
