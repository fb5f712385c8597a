"""What the training loop asks of a loss."""

from typing import Protocol, runtime_checkable

from torch import Tensor

from convsnn.train.network import TrainableNetwork
from convsnn.train.samples import Batch


class Objective(Protocol):
    """What training makes small."""

    def __call__(self, logits: Tensor, batch: Batch, network: TrainableNetwork) -> Tensor:
        """The loss of logits (T, B, K), a mean over the batch."""
        ...


@runtime_checkable
class Judging(Protocol):
    """An objective that says itself how right an answer is; of others the class has to be."""

    def right(self, answers: Tensor, batch: Batch) -> Tensor:
        """How right each of the answers (B, ...) is, (B,) from 0 to 1."""
        ...
