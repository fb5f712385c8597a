"""Data sets, one file per source; see `base` for the contract."""

from convsnn.registry import import_siblings
from zoo.data.base import (
    DATASETS,
    Binning,
    DataSet,
    Part,
    choose,
    class_names,
    draw,
    holds_events,
    open_data,
    sample_shape,
)
from zoo.data.places import absolute, data_place, is_there
from zoo.data.preprocessing import Preprocessing
from zoo.data.still import stills

import_siblings(__name__, __path__)

__all__ = [
    "DATASETS",
    "Binning",
    "DataSet",
    "Part",
    "Preprocessing",
    "absolute",
    "choose",
    "class_names",
    "data_place",
    "draw",
    "holds_events",
    "is_there",
    "open_data",
    "sample_shape",
    "stills",
]
