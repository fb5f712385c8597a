"""From a converted spiking network to a better one at few steps, by training on labelled samples.

Weights, thresholds and initial potentials start as converted and learn together; the original
network, which the spiking one carries with it, can be the teacher (see `distillation`).
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convsnn.errors import ConfigError, UnsupportedError
from convsnn.graph import Graph
from convsnn.readouts import READOUTS, delayed
from convsnn.registry import split_spec
from convsnn.spiking.network import Spiking
from convsnn.train.distillation import Distillation, Tuning
from convsnn.train.lif import LIF
from convsnn.train.loop import train
from convsnn.train.methods import find_method, learned_thresholds, neurons
from convsnn.train.network import TrainableNetwork, ends
from convsnn.train.result import neuron_of, to_spiking
from convsnn.train.samples import Samples
from convsnn.train.settings import Epoch, Settings, State
from convsnn.train.thresholds import Ltmd, Threshold

IN_LAYERS = ("lt-snn", "ltmd", "fixed")


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
    compile: bool = False,
) -> Tuned:
    """Train `net` for `settings.steps` time steps on `samples`; `net` itself is not changed.

    `folder` is for checkpoints and `compile` for speed (see `loop.train`). Raises
    UnsupportedError for a network that cannot be trained so, ConfigError and TrainingError as
    `train` does.
    """
    tuning = tuning or Tuning()
    method = find_method(tuning.method)
    require_trainable(net, tuning)
    network = trainable(net, tuning)
    last = method.judged == "last"
    objective = Distillation(net.graph, network, tuning, settings, last=last)
    state = train(
        network,
        samples,
        objective,
        settings,
        folder=folder,
        groups=parameter_groups(network, tuning.weights_rate),
        device=device,
        progress=progress,
        every=every,
        compile=compile,
        after=lambda: keep_below_ceilings(network),
        purpose={**asdict(tuning), "start": _digest(network), "units": "channel"},
    )
    neuron = neuron_of(network)
    changes = _changes(net.neuron, neuron)
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
        provenance=_provenance(
            net.provenance, record, settings.steps, neuron=neuron, readout=network.readout
        ),
    )
    return Tuned(trained, state)


def trainable(net: Spiking, tuning: Tuning) -> TrainableNetwork:
    """`net` with neurons that learn as `tuning` says, all values where conversion left them.

    It learns to be right from the start, so that hardly anything need be forgotten: a readout that
    rises with the square of the step, which conversion may have chosen, rises with the step.
    """
    method, readout = find_method(tuning.method), READOUTS.create(net.readout)
    return TrainableNetwork(
        net.body,
        {
            name: neurons(
                method,
                planned,
                per=tuning.per,
                decay=tuning.decay,
                reset=tuning.reset,
                schedule=net.schedule,
            )
            for name, planned in net.plan.sites.items()
        },
        shifts={n: p.shift for n, p in net.plan.sites.items() if p.shift is not None},
        readout=delayed("rising", readout.delay) if readout.power == 2 else net.readout,
        fixed_statistics=True,
        schedule=net.schedule,
    )


def require_trainable(net: Spiking, tuning: Tuning | None = None) -> None:
    """Raise UnsupportedError unless fine-tuning knows how to train such a network, ConfigError
    unless it can be trained as `tuning` says."""
    name, _ = split_spec(net.neuron)
    if net.schedule == "layers" and tuning is not None:
        if (tuning.decay, tuning.reset) != (1.0, "soft"):
            raise ConfigError(
                "neurons that wait for all their input neither leak nor reset to zero",
                hint="leave --decay and --reset out",
            )
        if tuning.method not in IN_LAYERS:
            raise ConfigError(
                f"the method '{tuning.method}' learns from single spikes, which a network that "
                "fires layer by layer has none of while it trains",
                hint=f"use --method {' or '.join(IN_LAYERS)}",
            )
    if name not in ("if", "lif"):
        raise UnsupportedError(
            f"a network of '{net.neuron}' neurons cannot be fine-tuned",
            hint="convert the network with --neuron if",
        )
    if net.encoder.steps is not None:
        raise UnsupportedError(
            "a network that is shown sequences cannot be fine-tuned: the original, which is its "
            "teacher, knows no frames",
            hint="convert with --encoder direct, which shows the mean frame, or train one on "
            "sequences from the start with convsnn train",
        )
    if not net.encoder.constant:
        raise UnsupportedError(
            f"a network with '{net.encoder.spec()}' input cannot be fine-tuned",
            hint="convert the network with --encoder direct",
        )
    if any(planned.timed_bias is not None for planned in net.plan.sites.values()):
        raise UnsupportedError(
            "a network whose biases change from step to step cannot be fine-tuned",
            hint="calibrate it without ftbc",
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


def parameter_groups(network: TrainableNetwork, rate: float = 1.0) -> list[dict[str, Any]]:
    """Weights at a part of the learning rate, biases and thresholds at all of it; potentials and
    shifts in units of their site's threshold, and none of the last three with weight decay.

    Weights learn in units of their output channel's size (root mean square; 1 where that is 0), of
    which the mean over all channels is 1: with batch norm folded into them they differ by orders of
    magnitude, and an update of Adam, which moves all alike, would undo the small ones first.
    """
    weights = dict(network.named_weights())
    wide = {name: w for name, w in weights.items() if w.dim() > 1}
    sizes = _channel_sizes(network, wide)
    mean = torch.cat([size.flatten() for size in sizes]).mean() if sizes else 1.0
    units = [(size / mean).masked_fill(size == 0, 1.0) for size in sizes]
    groups: list[dict[str, Any]] = [
        {"params": list(wide.values()), "scale": rate, "units": units},
        {"params": [w for w in weights.values() if w.dim() <= 1]},
    ]
    groups = [group for group in groups if group["params"]]
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


def _channel_sizes(network: TrainableNetwork, weights: Mapping[str, Tensor]) -> list[Tensor]:
    """The root mean square of every output channel of `weights`, which broadcasts to them."""
    # (in, out, ...) where all others are (out, in, ...)
    turned = {node.inputs[1] for node in network.graph.nodes if node.op == "conv_transpose"}
    found = []
    for name, weight in weights.items():
        others = [axis for axis in range(weight.dim()) if axis != (name in turned)]
        found.append(weight.detach().square().mean(others, keepdim=True).sqrt())
    return found


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


def _digest(network: TrainableNetwork) -> str:
    """Of what training starts from: the network's values."""
    found = hashlib.sha256()
    for tensor in network.state_dict().values():
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
        "schedule": settings.schedule,
        "optimizer": settings.optimizer,
        "weight_decay": settings.weight_decay,
        "precision": settings.precision,
        "held_out": settings.held_out,
        "average": settings.average,
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


def _provenance(
    before: Mapping[str, Any], record: Mapping[str, Any], steps: int, **now: str
) -> dict[str, Any]:
    """That of the conversion, with what training has changed of its method, `now`."""
    method, model = dict(before.get("method", {})), dict(before.get("model", {}))
    return {
        **before,
        "method": {**method, **now, "training": dict(record)},
        "model": {**model, "thresholds": record["learned_thresholds"]},
        "timesteps": steps,
    }
