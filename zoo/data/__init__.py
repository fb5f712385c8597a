"""Data sets, one file per source; see `base` for the contract."""

from convsnn.registry import import_siblings
from zoo.data.base import DATASETS, DataSet, Part, choose, draw, open_data
from zoo.data.preprocessing import Preprocessing

import_siblings(__name__, __path__)

__all__ = ["DATASETS", "DataSet", "Part", "Preprocessing", "choose", "draw", "open_data"]
