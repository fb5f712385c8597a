"""Training spiking networks by gradients: surrogates, thresholds that learn, neurons, losses."""

from convsnn.registry import import_siblings
from convsnn.train.losses import LOSSES, Loss
from convsnn.train.surrogates import SURROGATES, Surrogate
from convsnn.train.thresholds import THRESHOLDS, Threshold

import_siblings(__name__, __path__)

__all__ = ["LOSSES", "SURROGATES", "THRESHOLDS", "Loss", "Surrogate", "Threshold"]
