"""ONNX ops that no spiking network has a form for: what is recurrent, and what draws at random."""

from convsnn.load.builder import RANDOM, RECURRENT
from convsnn.load.onnx.base import refuse

refuse("LSTM", "GRU", "RNN", reason=RECURRENT[0], remedy=RECURRENT[1])
refuse(
    *("RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"),
    reason=RANDOM[0],
    remedy=RANDOM[1],
)
