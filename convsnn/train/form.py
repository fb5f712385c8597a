"""What a network is trained with as a spiking one: its neurons, and what stands between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from convsnn.errors import ConfigError
from convsnn.train.binary import rounding
from convsnn.train.dropout import ModerateDropout
from convsnn.train.lateral import Lateral
from convsnn.train.lif import LIF, Output, Sends
from convsnn.train.scan import ScannedLIF
from convsnn.train.surrogates import SURROGATES
from convsnn.train.synapse import Synapse
from convsnn.train.thresholds import THRESHOLDS

EACH = ";"  # between the thresholds of several layers


@dataclass(frozen=True, kw_only=True)
class Form:
    """What neurons a network is trained with, and what stands between them.

    `threshold` and `surrogate` are specs of their registries, the first once for all layers or,
    with ";" between them, once for each; `per` says what has a threshold of its own. Potentials are
    multiplied by `decay` a step. With the `dynamics` "paper" (Rouser's equations 1 to 3) and "lava"
    (its baseline's code) neurons have a synaptic current, multiplied by `current_decay` a step;
    they differ in `delay` (1 and 0), in `reset` ("auto": soft and to zero) and in what the gradient
    knows of it (see `synapse` and `lif`). Without, the reset is to zero unless it is given.

    Neurons of fully connected layers send `outputs`; where that is not "spike", those of
    the last layer do so too, and the answer is their mean instead of that of the last currents.
    With an `answer` of "spikes" or "potentials" the last layer has neurons that send these,
    whatever the others send. `lateral` is what becomes of a network's lateral layers: kept in
    front of the neurons ("feedforward", LTMD's code), fed with what was sent the step before
    ("recurrent", its equation 9; behind the last layer only where that has neurons) or left out.
    `dropout` stands behind the nodes `drop_behind`, with a comma between several; `weight_bits` are
    1, 4 or 8, or None, and `weight_norm` lets length and direction of each neuron's weights learn
    apart. Raises ConfigError for what cannot be.
    """

    threshold: str = "lt-snn"
    per: Literal["layer", "channel", "neuron"] = "layer"
    surrogate: str = "triangle"
    dynamics: Literal["plain", "paper", "lava"] = "plain"
    decay: float = 0.5
    current_decay: float = 0.75
    delay: int | None = None
    reset: Literal["auto", "zero", "soft"] = "zero"
    detach_reset: bool = False
    strict: bool = False
    sends: Sends = "one"
    outputs: Output = "spike"
    answer: Literal["currents", "spikes", "potentials"] = "currents"
    lateral: Literal["none", "recurrent", "feedforward"] = "none"
    dropout: Literal["none", "plain", "moderate"] = "none"
    p_drop: float = 0.2
    drop_behind: str = ""
    weight_bits: int | None = None
    weight_norm: bool = False

    def __post_init__(self) -> None:
        for place in range(len(self.rules)):
            self.neurons(place=place)
        ModerateDropout(self.p_drop)
        if self.weight_bits is not None:
            rounding(self.weight_bits)
        if self.weight_norm and self.weight_bits is not None:
            raise ConfigError(
                "weights of few bits cannot be normalised as well",
                hint="set weight_norm=false or weight_bits=none",
            )
        if self.dropout != "none" and not self.drop_behind:
            raise ConfigError(
                f"{self.dropout} dropout needs a place", hint="name a layer with drop_behind"
            )
        if self.dynamics == "plain" and self.delay:
            raise ConfigError(
                "neurons without a synaptic current have no delay", hint="set dynamics=paper"
            )
        if self.answer != "currents" and self.outputs != "spike":
            raise ConfigError(
                f"the answer is what the last layer sends where outputs={self.outputs}",
                hint="set answer=currents",
            )

    @property
    def rules(self) -> list[str]:
        """The specs of the thresholds: one, or one for each layer."""
        return [text.strip() for text in self.threshold.split(EACH)]

    @property
    def reads_neurons(self) -> bool:
        """Whether the last layer has neurons."""
        return self.outputs != "spike" or self.answer != "currents"

    def neurons(
        self,
        *,
        place: int = 0,
        shape: Sequence[int] = (),
        output: Output = "spike",
        lateral: Lateral | None = None,
    ) -> LIF:
        """The population of one layer, the `place`th, for samples of `shape`."""
        rules = self.rules
        soft = self.reset == "soft" or (self.reset == "auto" and self.dynamics == "paper")
        return ScannedLIF(
            THRESHOLDS.create(
                rules[min(place, len(rules) - 1)],
                **({"shape": s} if (s := self._own(shape)) else {}),
            ),
            decay=self.decay,
            reset="soft" if soft else "hard",
            detach_reset=self.detach_reset,
            ignore_reset=self.dynamics == "lava",
            surrogate=SURROGATES.create(self.surrogate),
            strict=self.strict,
            sends=self.sends,
            output=output,
            lateral=lateral,
            synapse=self._synapse(),
        )

    def _own(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of the thresholds of a layer whose samples have `shape`."""
        if self.per == "layer" or not shape:
            return ()
        return tuple(shape) if self.per == "neuron" else (shape[0], *[1] * (len(shape) - 1))

    def _synapse(self) -> Synapse | None:
        if self.dynamics == "plain":
            return None
        usual = 1 if self.dynamics == "paper" else 0
        return Synapse(self.current_decay, delay=usual if self.delay is None else self.delay)
