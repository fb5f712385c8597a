"""Networks ready to convert, one file per family; see `base`."""

from convsnn.registry import import_siblings
from zoo.models.base import MODELS, Entry, describe

import_siblings(__name__, __path__)

__all__ = ["MODELS", "Entry", "describe"]
