"""What the original is shown of calibration samples: images, of sequences the mean frame."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor

from convsnn.encoders import Encoder
from convsnn.spiking.sharing import Share, own_batches


@dataclass(frozen=True)
class Stills:
    """The images that the original is shown of the samples in `batches`; they can be iterated as
    often as these."""

    batches: Iterable[Tensor]
    encoder: Encoder

    def __iter__(self) -> Iterator[Tensor]:
        return map(self.encoder.still, self.batches)

    def dealt(self, share: Share) -> Iterator[tuple[int, Tensor]]:
        """See `Divisible`."""
        for first, x in own_batches(share, self.batches):
            yield first, self.encoder.still(x)
