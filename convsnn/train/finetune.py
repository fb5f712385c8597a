"""From a converted spiking network to a better one at few steps, by training on labelled samples.

Weights, thresholds and initial potentials start as converted and learn together; the original
network, which the spiking one carries with it, can be the teacher (Hinton et al. 2015). The loss
is taken of the mean of the logits up to every step t, later steps counting more:

    sum over t of  t / (1 + ... + T)  times  c^2 KL(softmax(z / c) || softmax(o(t) / c))

with z the teacher's logits, o(t) the mean so far and c the temperature; cross-entropy with the
labels is added with a weight, or stands alone where there is no teacher.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from convsnn.errors import ConfigError, UnsupportedError
from convsnn.graph import Graph, run
from convsnn.registry import split_spec
from convsnn.rewrite import Spiking
from convsnn.train.lif import LIF, Reset
from convsnn.train.loop import train
from convsnn.train.methods import find_method, learned_thresholds, neurons
from convsnn.train.network import TrainableNetwork, ends
from convsnn.train.result import neuron_of, to_spiking
from convsnn.train.samples import Batch, Samples
from convsnn.train.settings import Epoch, Settings, State
from convsnn.train.thresholds import Ltmd, Threshold


@dataclass(frozen=True)
class Tuning:
    """What is trained and from what, beside the loop's settings.

    `method` is one of `methods.METHODS`; thresholds learn one number `per` channel or layer.
    `decay` and `reset` are those of the neurons; 1 and "soft" are the converted ones. `teacher`
    is the original network, at `temperature`; `labels` the weight of the cross-entropy beside it.
    """

    method: str = "lt-snn"
    per: Literal["channel", "layer"] = "channel"
    decay: float = 1.0
    reset: Reset = "soft"
    teacher: bool = True
    temperature: float = 2.0
    labels: float = 0.0

    def __post_init__(self) -> None:
        find_method(self.method)
        if not 0 < self.temperature < float("inf") or not 0 <= self.labels < float("inf"):
            raise ConfigError("temperature must be positive, and the labels' weight at least 0")


@dataclass(frozen=True)
class Tuned:
    """The trained network, and how training went."""

    net: Spiking
    state: State


def finetune(
    net: Spiking,
    samples: Samples,
    settings: Settings,
    tuning: Tuning | None = None,
    *,
    folder: Path | None = None,
    device: torch.device | str | None = None,
    progress: Callable[[Epoch], None] | None = None,
    every: int = 200,
) -> Tuned:
    """Train `net` for `settings.steps` time steps on `samples`; `net` itself is not changed.

    `folder` is for checkpoints (see `loop.train`). Raises UnsupportedError for a network that
    cannot be trained so, ConfigError and TrainingError as `train` does.
    """
    tuning = tuning or Tuning()
    method = find_method(tuning.method)
    require_trainable(net)
    network = TrainableNetwork(
        net.body,
        {
            name: neurons(method, planned, per=tuning.per, decay=tuning.decay, reset=tuning.reset)
            for name, planned in net.plan.sites.items()
        },
        shifts={n: p.shift for n, p in net.plan.sites.items() if p.shift is not None},
        readout=net.readout,
        fixed_statistics=True,
    )
    objective = Distillation(net.graph, tuning, settings, last=method.judged == "last")
    state = train(
        network,
        samples,
        objective,
        settings,
        folder=folder,
        groups=parameter_groups(network),
        device=device,
        progress=progress,
        every=every,
        after=lambda: keep_below_ceilings(network),
        purpose={**asdict(tuning), "start": _digest(network, samples)},
    )
    changes = _changes(net.neuron, neuron_of(network))
    record = {
        **_record(tuning, settings, state, len(samples)),
        "learned_thresholds": learned_thresholds(network),
        "changes": list(changes),
    }
    trained = to_spiking(
        network,
        original=net.graph,
        encoder=net.encoder,
        record=(*net.plan.record, {"stage": "finetune", **record, "history": _history(state)}),
        provenance=_provenance(net.provenance, record, settings.steps),
    )
    return Tuned(trained, state)


def require_trainable(net: Spiking) -> None:
    """Raise UnsupportedError unless fine-tuning knows how to train such a network."""
    name, _ = split_spec(net.neuron)
    if name not in ("if", "lif"):
        raise UnsupportedError(
            f"a network of '{net.neuron}' neurons cannot be fine-tuned",
            hint="convert the network with --neuron if",
        )
    if net.encoder.steps is not None:
        raise UnsupportedError(
            "a network that is shown sequences was trained as a spiking one and has no original "
            "to be fine-tuned with",
            hint="train it anew with convsnn train",
        )
    if not net.encoder.constant:
        raise UnsupportedError(
            f"a network with '{net.encoder.spec()}' input cannot be fine-tuned",
            hint="convert the network with --encoder direct",
        )
    signed = [name for name, site in net.graph.sites.items() if site.signed]
    if signed:
        raise UnsupportedError(
            f"layer(s) {', '.join(signed)} send signed spikes, which cannot be trained yet",
            hint="fine-tune a network of plain ReLU",
        )
    require_classes(net.graph)


def require_classes(graph: Graph) -> None:
    """Raise UnsupportedError unless the network has one output, of class scores."""
    shape = graph.shapes[ends(graph)[0]]
    if len(shape) != 1 or shape[0] < 2:
        raise UnsupportedError(
            f"training needs a network that gives class scores, not outputs of shape {shape}"
        )


class Distillation:
    """The loss of the module's docstring; see `Objective`."""

    def __init__(self, graph: Graph, tuning: Tuning, settings: Settings, *, last: bool) -> None:
        self.tuning, self.settings, self.last = tuning, settings, last
        self.graph, self.logits = graph, ends(graph)[0]

    def __call__(self, logits: Tensor, batch: Batch, network: TrainableNetwork) -> Tensor:
        """See `Objective`; ConfigError for labels that the network has no class for."""
        classes = logits.shape[2]
        if int(batch.labels.max()) >= classes or int(batch.labels.min()) < 0:
            raise ConfigError(
                f"a label is {int(batch.labels.max())}, but the network has {classes} classes",
                hint="use the data the network was trained on, with labels that count from 0",
            )
        means = network.means(logits)
        steps = torch.arange(1, len(means) + 1).to(means)
        weights = (steps == len(means)).to(means) if self.last else steps
        found = torch.zeros_like(steps)
        share = self.tuning.labels if self.tuning.teacher else 1.0
        if share:
            found = found + share * torch.stack(
                [functional.cross_entropy(mean, batch.labels) for mean in means]
            )
        if self.tuning.teacher:
            found = found + self._divergence(means, self._teacher(batch.x))
        return (found * weights).sum() / weights.sum()

    @torch.no_grad()
    def _teacher(self, x: Tensor) -> Tensor:
        if next(iter(self.graph.tensors.values())).device != x.device:
            self.graph = self.graph.to(device=x.device)
        mixed = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(self.settings.precision)
        with torch.autocast(x.device.type, mixed, enabled=mixed is not None):
            return run(self.graph, x, keep=[self.logits])[self.logits].float()

    def _divergence(self, means: Tensor, teacher: Tensor) -> Tensor:
        """c^2 KL(teacher || mean) at every step, (T,)."""
        soft = self.tuning.temperature
        wanted = (teacher / soft).log_softmax(1)
        got = (means / soft).log_softmax(2)
        return soft**2 * (wanted.exp() * (wanted - got)).sum(2).mean(1)


def parameter_groups(network: TrainableNetwork) -> list[dict[str, Any]]:
    """Weights and thresholds at the full rate; potentials and shifts in units of their site's
    threshold, and none of the last three with weight decay."""
    groups: list[dict[str, Any]] = [{"params": [w for _, w in network.named_weights()]}]
    shifts = network.shifts()
    for name in network.graph.sites:
        lif = network.site(name)
        assert isinstance(lif, LIF)
        rule = lif.threshold
        kept = {"weight_decay": 0.0}
        if learned := list(rule.parameters()):
            groups.append({"params": learned, **kept})
        moved = [p for p in (lif.potential, shifts.get(name)) if isinstance(p, nn.Parameter)]
        if moved:
            groups.append({"params": moved, "scale": float(rule.unit.mean()), **kept})
    return groups


@torch.no_grad()
def keep_below_ceilings(network: TrainableNetwork) -> None:
    """Bring thresholds back that rose above their activation's ceiling: a clipped activation
    cannot be stood for by larger spikes."""
    for name, site in network.graph.sites.items():
        rule = getattr(network.site(name), "threshold", None)
        if site.ceiling is None or not isinstance(rule, Threshold):
            continue
        top = float(site.ceiling) / rule.unit
        if isinstance(rule, Ltmd):
            top = (top * rule.scale).clamp(max=1 - 1e-6).atanh()
        for learned in rule.parameters():
            bound = top if learned.shape == top.shape else top.min()
            learned.clamp_(max=bound)


def _digest(network: TrainableNetwork, samples: Samples) -> str:
    """Of what training starts from: the network's values and the first samples."""
    first = samples.batch(range(min(8, len(samples))), generator=None)
    found = hashlib.sha256()
    for tensor in (first.x, first.labels, *network.state_dict().values()):
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _record(tuning: Tuning, settings: Settings, state: State, samples: int) -> dict[str, Any]:
    return {
        **asdict(tuning),
        "epochs": state.epoch,
        "updates": state.done,
        "seconds": round(state.seconds, 3),
        "samples": samples,
        "timesteps": settings.steps,
        "batch_size": settings.batch_size,
        "learning_rate": settings.learning_rate,
        "optimizer": settings.optimizer,
        "weight_decay": settings.weight_decay,
        "precision": settings.precision,
        "held_out": settings.held_out,
        "minutes": settings.minutes,
        "seed": settings.seed,
    }


def _history(state: State) -> list[dict[str, Any]]:
    """The epochs without what there is one of for every layer."""
    left_out = ("thresholds", "rates")
    return [
        {key: value for key, value in epoch.items() if key not in left_out}
        for epoch in state.history
    ]


def _changes(before: str, after: str) -> tuple[str, ...]:
    """What is different from the converted network, in words."""
    trained = "weights, thresholds and initial potentials were trained"
    if before == after:
        return (trained, f"neurons are those of the conversion ({before}): same reset and leak")
    return (trained, f"neurons are {after}, and were {before}")


def _provenance(before: Mapping[str, Any], record: Mapping[str, Any], steps: int) -> dict[str, Any]:
    method, model = dict(before.get("method", {})), dict(before.get("model", {}))
    return {
        **before,
        "method": {**method, "training": dict(record)},
        "model": {**model, "thresholds": record["learned_thresholds"]},
        "timesteps": steps,
    }
