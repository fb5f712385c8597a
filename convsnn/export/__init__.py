"""Spiking networks as files: our own artifact, which is read again, and foreign formats."""

from convsnn.export.artifact import is_artifact, load_artifact, save_artifact

__all__ = ["is_artifact", "load_artifact", "save_artifact"]
