"""Lateral input between the neurons of a fully connected layer, LTMD equation 9.

    I(t) += sum over j of k(j) o(i + j)        a 1-D correlation along the neurons' numbers

By the paper o is what the layer sent a step before ("recurrent"); the authors' code takes the
layer's own current of the same step ("feedforward"). The kernel holds the neuron itself, too.
"""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from convsnn.errors import ConfigError


class Lateral(nn.Module):
    """A kernel of odd `width` over neighbouring neurons, zero beyond the ends, no bias."""

    def __init__(
        self, width: int = 5, *, source: Literal["recurrent", "feedforward"] = "recurrent"
    ) -> None:
        super().__init__()
        if width < 1 or width % 2 == 0:
            raise ConfigError(
                f"a lateral kernel of width {width} has no middle", hint="take an odd width, like 5"
            )
        self.source = source
        self.kernel = nn.Conv1d(1, 1, width, padding=width // 2, bias=False).weight

    def forward(self, current: Tensor, sent: Tensor) -> Tensor:
        """What is added to `current` (B, N), when the layer sent `sent` (B, N) the step before."""
        source = sent if self.source == "recurrent" else current
        width = self.kernel.shape[-1]
        return functional.conv1d(source.unsqueeze(1), self.kernel, padding=width // 2).squeeze(1)
