"""Where a spiking network comes from, as it says itself."""

from convsnn.spiking.network import Spiking


def was_converted(net: Spiking) -> bool:
    """Whether an original was calibrated into `net`, which neither learnt from the start as a
    spiking network nor came with its neurons."""
    made = [record.get("stage") for record in net.plan.record]
    return not made or made[0] not in ("train", "given")
