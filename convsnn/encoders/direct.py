"""Direct encoding: the image itself is the input current of every step."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from convsnn.encoders.base import ENCODERS


@ENCODERS.register("direct")
@dataclass(frozen=True)
class Direct:
    """The real-valued image at every step; what follows from it alone is computed once."""

    constant = True
    steps = None

    def fit(self, batches: Iterable[Tensor]) -> "Direct":
        """Nothing to learn."""
        del batches
        return self

    def spec(self) -> str:
        """See `Encoder.spec`."""
        return "direct"

    def still(self, x: Tensor) -> Tensor:
        """The images themselves."""
        return x

    def encode(self, x: Tensor, ids: Tensor, steps: range) -> Tensor:
        """The same image at each step, (len(steps), B, ...)."""
        del ids
        return x.expand(len(steps), *x.shape)
