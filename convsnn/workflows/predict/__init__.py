"""What a saved spiking network answers to images that nobody has labelled."""

from convsnn.workflows.predict.prediction import Predictions, predict

__all__ = ["Predictions", "predict"]
