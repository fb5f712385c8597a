"""Spiking networks in the Neuromorphic Intermediate Representation (NIR), where it can say them."""

from convsnn.export.nir.file import nir_graph, save_nir
from convsnn.export.nir.writer import Initial

__all__ = ["Initial", "nir_graph", "save_nir"]
