"""The original network as the teacher of the spiking one that was made from it.

Of the logits, the mean o(t) up to every step t learns from the teacher's logits z at temperature c
(Hinton et al. 2015), later steps counting more:

    sum over t of  t / (1 + ... + T)  times  c^2 KL(softmax(z / c) || softmax(o(t) / c))

Cross-entropy with the labels is added with a weight, or stands alone where there is no teacher.
Behind every layer l, the mean over all T steps of what neurons sent, s_l, learns from the
activations a_l that it stands for (hints, Romero et al. 2015): with L layers,

    (1 / L) sum over l of  mean (s_l - a_l)^2 / var a_l

A few thousand images are soon known by heart from their logits alone; their activations are much
more to learn from.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from convsnn.errors import ConfigError
from convsnn.graph import Graph, run
from convsnn.train.lif import Reset
from convsnn.train.methods import find_method
from convsnn.train.network import TrainableNetwork, ends
from convsnn.train.samples import Batch
from convsnn.train.settings import Settings


@dataclass(frozen=True)
class Tuning:
    """What is trained and from what, beside the loop's settings.

    `method` is one of `methods.METHODS`; thresholds learn one number `per` channel or layer.
    `decay` and `reset` are those of the neurons; 1 and "soft" are the converted ones. `teacher`
    is the original network, at `temperature`; `hints` is the weight of its activations beside its
    logits, `labels` that of the cross-entropy. `weights_rate` is the part of the learning rate at
    which weights learn; 0 leaves them as they are. Biases, thresholds and potentials have all of
    it.
    """

    method: str = "lt-snn"
    per: Literal["channel", "layer"] = "channel"
    decay: float = 1.0
    reset: Reset = "soft"
    teacher: bool = True
    temperature: float = 2.0
    hints: float = 1.0
    labels: float = 0.0
    weights_rate: float = 1.0

    def __post_init__(self) -> None:
        find_method(self.method)
        if not 0 < self.temperature < float("inf") or not 0 <= self.labels < float("inf"):
            raise ConfigError("temperature must be positive, and the labels' weight at least 0")
        if not 0 <= self.hints < float("inf"):
            raise ConfigError("the weight of hints must be at least 0")
        if not 0 <= self.weights_rate <= 1:
            raise ConfigError(f"weights_rate lies between 0 and 1, not {self.weights_rate}")


class Distillation:
    """The loss of the module's docstring, for training `network`; see `Objective`.

    `last` judges the mean of all steps alone. Raises ConfigError for labels that the network has
    no class for.
    """

    def __init__(
        self,
        graph: Graph,
        network: TrainableNetwork,
        tuning: Tuning,
        settings: Settings,
        *,
        last: bool,
    ) -> None:
        self.tuning, self.settings, self.last = tuning, settings, last
        self.graph, self.logits = graph, ends(graph)[0]
        self.means: dict[str, Tensor] = {}
        self.hinted = [name for name in graph.sites if name in network.graph.sites]
        if not tuning.teacher or not tuning.hints:
            self.hinted = []
        for name in self.hinted:
            self._watch(name, network.site(name))

    def __call__(self, logits: Tensor, batch: Batch, network: TrainableNetwork) -> Tensor:
        """See `Objective`."""
        batch.require_classes(logits.shape[2])
        means = network.means(logits)
        steps = torch.arange(1, len(means) + 1).to(means)
        weights = (steps == len(means)).to(means) if self.last else steps
        found = torch.zeros_like(steps)
        share = self.tuning.labels if self.tuning.teacher else 1.0
        if share:
            batch.require_labels()
            found = found + share * torch.stack(
                [functional.cross_entropy(mean, batch.labels) for mean in means]
            )
        if not self.tuning.teacher:
            return (found * weights).sum() / weights.sum()
        wanted = self._ask(batch.x)
        found = found + self._divergence(means, wanted[self.logits])
        return (found * weights).sum() / weights.sum() + self._missed(wanted)

    def _watch(self, name: str, site: nn.Module) -> None:
        """Keep the mean over time of what a site sends."""

        def keep(_site: nn.Module, _given: object, sent: Tensor) -> None:
            self.means[name] = sent.mean(0, dtype=torch.float32)

        site.register_forward_hook(keep)

    @torch.no_grad()
    def _ask(self, x: Tensor) -> dict[str, Tensor]:
        """The teacher's logits, and its activations where they are hints."""
        if next(iter(self.graph.tensors.values())).device != x.device:
            self.graph = self.graph.to(device=x.device)
        mixed = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(self.settings.precision)
        with torch.autocast(x.device.type, mixed, enabled=mixed is not None):
            found = run(self.graph, x, keep=[self.logits, *self.hinted])
        return {name: value.float() for name, value in found.items()}

    def _divergence(self, means: Tensor, teacher: Tensor) -> Tensor:
        """c^2 KL(teacher || mean) at every step, (T,)."""
        soft = self.tuning.temperature
        wanted = (teacher / soft).log_softmax(1)
        got = (means / soft).log_softmax(2)
        return soft**2 * (wanted.exp() * (wanted - got)).sum(2).mean(1)

    def _missed(self, wanted: dict[str, Tensor]) -> Tensor | float:
        """How far what was sent is from the activations, in units of their variance."""
        if not self.hinted:
            return 0.0
        apart = [
            functional.mse_loss(self.means.pop(name), wanted[name])
            / wanted[name].var().clamp(min=torch.finfo(torch.float32).eps)
            for name in self.hinted
        ]
        return self.tuning.hints * torch.stack(apart).mean()
