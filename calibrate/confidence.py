"""Spike confidence of MSAT (section 4.3): how far the early spikes of a layer can be believed.

A spike of a neuron that the source network keeps silent is an error (SIN). The paper gives no rule
for the confidence; the lists its authors publish agree with this one: run the network for 16 steps
without confidence and count, over all images and neurons of the layer,

    SIN = fired, pre-activation <= 0      POS = fired, pre-activation >= 0
    confidence = 1 - SIN / (SIN + POS)

and that for the last spiking layer only; spikes of all others are kept. The authors measured on
the test images, this stage does on the calibration images.
"""

import inspect
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from calibrate.base import CALIBRATORS, Context, Plan
from convsnn.errors import CalibrationError, ConfigError
from convsnn.graph import Node, run
from convsnn.neurons import NEURONS
from convsnn.registry import split_spec
from convsnn.simulate import simulate
from convsnn.spiking.network import Spiking, to_spiking


@dataclass(frozen=True)
class Counts:
    """Neurons of a layer, over images: the `silent` ones of the source network, and the firing.

    A pre-activation of exactly zero is on both sides, as the authors count.
    """

    sin: int = 0
    pos: int = 0
    silent: int = 0

    @property
    def confidence(self) -> float:
        """The share of the firing neurons that fire rightly; 1 where none fires."""
        return 1 - self.sin / max(1, self.sin + self.pos)

    @property
    def sin_ratio(self) -> float:
        """The share of the silent neurons that fire."""
        return self.sin / max(1, self.silent)


def count(pre_activation: Tensor, fired: Tensor) -> Counts:
    """Counts of one batch: pre-activations of the source network and a mask of the same shape."""
    off, on = pre_activation <= 0, pre_activation >= 0
    return Counts(int((fired & off).sum()), int((fired & on).sum()), int(off.sum()))


@dataclass
class _Fired:
    """Which neurons of the watched layers have spiked in a batch; an observer of `simulate`."""

    names: Collection[str]
    masks: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, node: Node, steps: range, value: Tensor) -> None:
        del steps
        if node.name in self.names:
            mask = (value != 0).any(0)
            self.masks[node.name] = mask | self.masks.get(node.name, mask)


def measure(
    context: Context, net: Spiking, names: Collection[str], *, steps: int
) -> dict[str, Counts]:
    """What the neurons of the layers `names` do in `steps` steps on the calibration images.

    Raises CalibrationError where there are no images or a layer does not fire at all.
    """
    inputs = {name: context.graph.by_name[name].inputs[0] for name in names}
    found = torch.zeros(len(inputs), 3, dtype=torch.int64)
    seen = 0
    for first, x in context.shown.own():
        with torch.no_grad():
            ann = run(context.graph, context.encoder.still(x), keep=inputs.values())
        fired = _Fired(names)
        simulate(net, x, steps=steps, ids=torch.arange(first, first + len(x)), observe=fired)
        seen += len(x)
        new = [count(ann[source], fired.masks[name]) for name, source in inputs.items()]
        found += torch.tensor([[c.sin, c.pos, c.silent] for c in new])
    if not int(context.share.add(torch.tensor(seen))):
        raise CalibrationError(
            "there are no calibration images", hint="give --calibration-samples at least 1"
        )
    rows = context.share.add(found).tolist()
    total = {name: Counts(*row) for name, row in zip(inputs, rows, strict=True)}
    for name, counts in total.items():
        if counts.sin + counts.pos == 0:
            raise CalibrationError(
                f"layer '{name}' does not fire in {steps} steps, so its confidence is unknown",
                hint="use more steps, or give a value: confidence:value=0.7",
            )
    return total


@CALIBRATORS.register("confidence")
@dataclass(frozen=True)
class Confidence:
    """The probability that an early spike is kept (MSAT), for the last spiking layer or for all.

    `value` is that probability; by default it is measured over `steps` steps on the calibration
    images. Comes after a stage that sets thresholds, and needs a neuron that knows confidence.
    """

    value: Annotated[
        float | None, "probability that an early spike is kept, 0 to 1; none: measured"
    ] = None
    layers: Annotated[Literal["last", "all"], "layers of neurons that get it: the last, or all"] = (
        "last"
    )
    steps: Annotated[int, "time steps over which it is measured"] = 16

    def __post_init__(self) -> None:
        if self.value is not None and not 0 <= self.value <= 1:
            raise ValueError(f"value is a probability between 0 and 1, not {self.value}")
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, not {self.steps}")

    def __call__(self, context: Context, plan: Plan) -> Plan:
        """See `Stage`."""
        plan.check(context.graph)
        _require_confidence(context.neuron)
        every = list(context.graph.sites)
        names = every if self.layers == "all" else every[-1:]
        record: dict[str, Any] = {"stage": "confidence", **asdict(self)}
        if self.value is not None:
            values = dict.fromkeys(names, self.value)
        else:
            bare = {name: replace(site, confidence=None) for name, site in plan.sites.items()}
            net = to_spiking(
                context.graph,
                replace(plan, sites=bare),
                neuron=context.neuron,
                encoder=context.encoder,
            )
            record["steps"] = context.lasting(self.steps)
            counts = measure(context, net, names, steps=record["steps"])
            values = {name: counts[name].confidence for name in names}
            record["sin_ratio"] = {name: counts[name].sin_ratio for name in names}
        record["confidence"] = values
        sites = {
            name: replace(plan.sites[name], confidence=_like(plan.sites[name].threshold, value))
            for name, value in values.items()
        }
        return plan.with_sites(sites, record)


def _like(threshold: Tensor, value: float) -> Tensor:
    return torch.tensor(value, dtype=threshold.dtype, device=threshold.device)


def _require_confidence(neuron: str) -> None:
    name, options = split_spec(neuron)
    known: Mapping[str, Any] = inspect.signature(NEURONS.get(name)).parameters
    if "confidence" not in known:
        fitting = [
            n
            for n in NEURONS.names()
            if "confidence" in inspect.signature(NEURONS.get(n)).parameters
        ]
        raise ConfigError(
            f"the stage 'confidence' needs a neuron that knows confidence, and '{name}' does not",
            hint=f"choose one with --neuron: {', '.join(fitting)}",
        )
    if "confidence" in options:
        raise ConfigError(
            f"the neuron '{neuron}' has a confidence already, which the stage would replace",
            hint="give it in one place: either the neuron's option or the stage 'confidence'",
        )
