"""What reading one file may cost as a whole: nodes, numbers, seconds."""

import time
from dataclasses import dataclass, field

from convsnn.errors import LoadError

_HINT = (
    "check where the file comes from; if it is sound, export the network again with its constants "
    "folded and its functions inlined"
)
LARGEST = 1 << 28  # elements of one value; a damaged file may ask for any number


@dataclass
class Budget:
    """Counts what is spent; LoadError, with what was being read, where it is used up.

    `nodes` counts every node that is read, each round of a loop and each call of a function
    anew; `numbers` the elements of all constants, stored or computed; `work` the multiplications
    spent on computing constants, as far as they can be told beforehand.
    """

    nodes: int = 50_000
    numbers: int = 1 << 30
    work: int = 1 << 33
    seconds: float = 120.0
    _end: float = field(init=False)

    def __post_init__(self) -> None:
        self._end = time.monotonic() + self.seconds

    def read(self, nodes: int, what: str) -> None:
        """Spend `nodes` nodes, and look at the clock."""
        self.nodes -= nodes
        if self.nodes < 0:
            raise LoadError(f"{what}: the file has more nodes than can be read", hint=_HINT)
        if time.monotonic() > self._end:
            raise LoadError(f"{what}: reading took more than {self.seconds:g} s", hint=_HINT)

    def hold(self, numbers: int, what: str) -> None:
        """Spend memory for `numbers` elements."""
        self.numbers -= numbers
        if numbers > LARGEST or self.numbers < 0:
            raise LoadError(f"{what}: the constants of the file are too large", hint=_HINT)

    def compute(self, work: int, what: str) -> None:
        """Spend the multiplications that one constant takes."""
        self.work -= work
        if self.work < 0:
            raise LoadError(f"{what}: the constants of the file take too long", hint=_HINT)
