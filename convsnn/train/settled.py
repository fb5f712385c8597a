"""How far a network's weights were, epoch by epoch, from those it ended with (Rouser's figure 6b).

That is known when training is over, so the weights of every epoch are kept until then, in a file
each beside the run's checkpoints, where a run that is gone on with finds those of before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from convsnn.train.checkpoint import put
from convsnn.train.devices import is_main
from convsnn.train.network import TrainableNetwork
from convsnn.train.observed import trained_weights

MOST = 2**30  # bytes that the weights of all epochs may take, else none are kept


@dataclass(frozen=True)
class Trail:
    """The weights of `network` after each of so many `epochs`, kept in `folder`."""

    network: TrainableNetwork
    folder: Path
    epochs: int

    def keep(self, epoch: int) -> None:
        """Keep the weights as they are now; ExportError where they cannot be written."""
        weights = dict(trained_weights(self.network))
        if not is_main() or 4 * self.epochs * sum(w.numel() for w in weights.values()) > MOST:
            return
        now = {n: w.detach().float().cpu().contiguous() for n, w in weights.items()}
        put(self._file(epoch), safetensors.torch.save(now), what="weights to")

    def distances(self) -> dict[int, dict[str, float]]:
        """By epoch, how far each layer's weights were from what they are now, as a part of their
        size now. Epochs whose weights were not kept, or cannot be read, are left out."""
        last = {n: w.detach().float().cpu() for n, w in trained_weights(self.network)}
        found = {}
        for epoch in range(1, self.epochs + 1):
            try:
                then = safetensors.torch.load_file(self._file(epoch))
            except (OSError, SafetensorError):
                continue
            if all(n in then and then[n].shape == w.shape for n, w in last.items()):
                found[epoch] = _apart(then, last)
        return found

    def _file(self, epoch: int) -> Path:
        return self.folder / f"weights-{epoch}.safetensors"


def _apart(then: Mapping[str, Tensor], last: Mapping[str, Tensor]) -> dict[str, float]:
    with torch.no_grad():
        return {
            name: float((then[name] - now).norm() / now.norm().clamp(min=1e-12))
            for name, now in last.items()
        }
