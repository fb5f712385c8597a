"""Input encoders, one file each; see `base` for the contract."""

from convsnn.encoders.base import ENCODERS, Encoder
from convsnn.registry import import_siblings

import_siblings(__name__, __path__)

__all__ = ["ENCODERS", "Encoder"]
