"""What becomes of initial potentials, which NIR has no word for."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from convsnn.export.nir.refusal import Unsayable
from convsnn.export.nir.values import channelwise

Initial = Literal["refuse", "bias", "metadata"]


def start_of(
    potential: Tensor, shape: Sequence[int], *, initial: Initial, timesteps: int | None
) -> Tensor | None:
    """The initial potential of a layer of `shape`, None for none; Unsayable where it is refused.

    It has the form of a unit, or any where it goes into the metadata.
    """
    if not bool(potential.any()):
        return None
    if initial == "refuse" or (initial == "bias" and not timesteps):
        raise Unsayable(
            "its neurons start from an initial potential, which NIR has no word for",
            "calibrate with potential=0 (exact), or write --initial metadata for readers who "
            "know it, or --initial bias, which spreads it over the time steps (not exact)",
        )
    start = channelwise(potential, shape)
    if start is None:
        if initial == "metadata":
            return potential
        raise Unsayable("its initial potentials differ within a channel", "use a layer's own")
    return start
