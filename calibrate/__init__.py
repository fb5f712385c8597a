"""Calibration stages, one file each; see `base` for the contract."""

from calibrate.base import CALIBRATORS, parse_stages, plugins_of
from convsnn.registry import import_siblings

import_siblings(__name__, __path__)

__all__ = ["CALIBRATORS", "parse_stages", "plugins_of"]
