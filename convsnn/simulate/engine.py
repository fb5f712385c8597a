"""What a simulation computes in: the precision, the bits of a weight, compiled loops or not."""

from dataclasses import dataclass
from typing import Literal, get_args

from convsnn.errors import ConfigError

Precision = Literal["float32", "bfloat16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True)
class Engine:
    """How a network is simulated; the default is the reference that all others are held against.

    float32: the float type of the network itself. bfloat16: weights and currents of layers that
    get spikes are rounded to bfloat16, potentials are not. int8: weights of `weight_bits` bits per
    output channel, and where plain neurons stand behind them, potentials and thresholds are whole
    numbers. `weight_bits` rounds the weights in every precision. `fused` compiles the neurons.
    """

    precision: Precision = "float32"
    weight_bits: int | None = None
    fused: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ConfigError(
                f"there is no precision '{self.precision}'", hint=f"known: {', '.join(PRECISIONS)}"
            )
        if self.weight_bits is not None and not 2 <= self.weight_bits <= 8:
            raise ConfigError(f"weights have 2 to 8 bits, not {self.weight_bits}")

    @property
    def bits(self) -> int | None:
        """Bits of a weight; None where weights are not rounded to a grid."""
        return 8 if self.weight_bits is None and self.precision == "int8" else self.weight_bits

    @property
    def in_units(self) -> bool:
        """Whether layers pass numbers of spikes, and thresholds are folded into the weights."""
        return self.fused or self.bits is not None or self.precision != "float32"

    def describe(self) -> str:
        """The precision as a report names it."""
        bits = self.bits
        return self.precision + (f", {bits}-bit weights" if bits else "")
