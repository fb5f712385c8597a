"""ATen ops that no spiking network has a form for: what is recurrent, and what draws at random."""

from convsnn.load.aten.base import refuse
from convsnn.load.builder import RANDOM, RECURRENT

refuse(
    *("lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell"),
    *("rnn_relu_cell", "mkldnn_rnn_layer"),
    reason=RECURRENT[0],
    remedy=RECURRENT[1],
)
refuse(
    *("rand_like", "randn_like", "randint_like", "bernoulli", "multinomial", "normal"),
    *("uniform", "poisson", "exponential"),
    reason=RANDOM[0],
    remedy=RANDOM[1],
)
