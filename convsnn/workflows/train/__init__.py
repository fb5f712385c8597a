"""Training spiking networks: by a recipe from the start, and what fine-tuning shares with it."""

from convsnn.workflows.train.training import Trained, train

__all__ = ["Trained", "train"]
