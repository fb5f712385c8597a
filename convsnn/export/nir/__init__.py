"""Spiking networks in the Neuromorphic Intermediate Representation (NIR), where it can say them."""

from convsnn.export.nir.file import Said, nir_graph, save_nir
from convsnn.export.nir.potential import Initial
from convsnn.export.nir.writer import Place

__all__ = ["Initial", "Place", "Said", "nir_graph", "save_nir"]
