"""The third entrance: graphs of the Neuromorphic Intermediate Representation, which hold neurons
already."""

from convsnn.load.nir.file import is_nir, refuse_nir
from convsnn.load.nir.importer import Given, load_nir

__all__ = ["Given", "is_nir", "load_nir", "refuse_nir"]
