"""Where the error of every layer comes from (MSAT, section 3, equations 8 to 11).

Per neuron, over T steps and in units of the source network's activations: x is its input in the
source network and a its activation there, z the mean of the current it really gets and r its mean
output, n(.) the mean output it would have had under that constant current for T steps.

    cap          = threshold * most spikes in a step,   c = a within [-cap, cap]
    clipping     = c - a            more than any number of steps can send              (10)
    quantisation = n(x) - c         in T steps there are only T + 1 levels               (9)
    sin          = r - n(x)         where the source network's neuron is silent (x < 0,
                                    a = 0) and this one fires                           (11)
    inherited    = n(z) - n(x)      elsewhere: the mean input is another
    uneven       = r - n(z)         elsewhere: the right mean, but at the wrong times

For integrate-and-fire from rest c + quantisation is (10): threshold / T * floor(x T / threshold)
within [0, threshold]. The five add up to r - a, neuron by neuron. The first two are made in the
layer, which would make them behind perfect layers too; the others come from the layers before.
Weights and shifts that calibration changed belong to the layer: n(x) is taken with them.

Over neurons and images the root mean square of each part is given, which do not add up, and its
share mean(part * error) / mean(error^2), which do, to 1; a share below 0 makes up for other parts.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import sqrt

import torch
from torch import Tensor

from convsnn.errors import ConfigError
from convsnn.graph import run
from convsnn.measure.evaluate import answers_classes, are_classes
from convsnn.measure.fitting import Batches
from convsnn.measure.listening import Heard, listen, steady
from convsnn.neurons import Keys
from convsnn.spiking.network import Spiking

_Values = Mapping[str, Tensor]
MADE_HERE = ("clipping", "quantisation")
PARTS = (*MADE_HERE, "sin", "inherited", "uneven")


@dataclass(frozen=True)
class LayerError:
    """The error of one layer over all its neurons and images.

    `error`, `made_here`, `rms` and the signed `mean_error` (below zero: the layer sends too
    little) are relative to the root mean square of the activations, and None where those are all
    zero; `shares` is None where there is no error. Fractions: `above`, of the active neurons those
    beyond the cap; `sin_ratio`, of the silent ones those that fire; `dead`, neurons that fire for
    no image, and `ann_dead`, those the source network never activates.
    """

    name: str
    neurons: int
    activation_rms: float
    error: float | None
    made_here: float | None
    mean_error: float | None
    rms: Mapping[str, float] | None
    shares: Mapping[str, float] | None
    above: float
    sin_ratio: float
    dead: float
    ann_dead: float


@dataclass(frozen=True)
class Decomposition:
    """What `decompose` found, all after the last step: the layers in order and the scores.

    `output_error` is that of the outputs, relative to their root mean square. Accuracies are None
    without labels, `agreement` (the same class as the source network) where there are no classes.
    """

    layers: tuple[LayerError, ...]
    samples: int
    output_error: float | None
    ann_accuracy: float | None
    accuracy: float | None
    agreement: float | None


def split_error(
    activation: Tensor,
    cap: Tensor,
    *,
    answer: Tensor,
    answer_to_mean: Tensor,
    output: Tensor,
    wrong: Tensor,
) -> dict[str, Tensor]:
    """The parts of `output` - `activation`, each (B, ...), as the module's docstring defines them.

    `answer` is n(x), `answer_to_mean` n(z), `wrong` a mask of the silent neurons that fire.
    """
    kept = torch.clamp(activation, -cap, cap)
    none = torch.zeros_like(output)
    return {
        "clipping": kept - activation,
        "quantisation": answer - kept,
        "sin": torch.where(wrong, output - answer, none),
        "inherited": torch.where(wrong, none, answer_to_mean - answer),
        "uneven": torch.where(wrong, none, output - answer_to_mean),
    }


@dataclass(frozen=True)
class Divided:
    """One layer of one batch, all (B, ...): the `parts` of its neurons' error, what they divide."""

    parts: Mapping[str, Tensor]
    activation: Tensor
    cap: Tensor
    silent: Tensor
    fired: Tensor


@dataclass
class _Tally:
    """Sums over the images so far of one layer; `fired` and `active` are (neurons...) masks."""

    fired: Tensor | None = None
    active: Tensor | None = None
    sums: dict[str, float] = field(default_factory=dict)
    count: int = 0

    def add(self, layer: Divided) -> None:
        """One batch."""
        parts, activation, cap = layer.parts, layer.activation, layer.cap
        error = torch.stack(list(parts.values())).sum(0)
        here = parts["clipping"] + parts["quantisation"]
        active = activation != 0
        new = {
            "activation": (activation**2).sum(),
            "error": (error**2).sum(),
            "made_here": (here**2).sum(),
            "signed": error.sum(),
            "active": active.sum(),
            "above": (activation.abs() > cap).sum(),
            "silent": layer.silent.sum(),
            "wrong": (layer.silent & layer.fired).sum(),
        }
        for name, part in parts.items():
            new[name] = (part**2).sum()
            new[f"{name} in error"] = (part * error).sum()
        for name, value in new.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value)
        self.count += activation.numel()
        ever, awake = layer.fired.any(0), active.any(0)
        self.fired = ever if self.fired is None else self.fired | ever
        self.active = awake if self.active is None else self.active | awake

    def result(self, name: str) -> LayerError:
        """The numbers over all images."""
        assert self.fired is not None
        assert self.active is not None
        sums, size = self.sums, sqrt(self.sums["activation"] / self.count)

        def relative(key: str) -> float | None:
            return sqrt(sums[key] / self.count) / size if size else None

        rms = {part: relative(part) for part in PARTS}
        shares = {part: sums[f"{part} in error"] / (sums["error"] or 1) for part in PARTS}
        return LayerError(
            name,
            self.fired.numel(),
            size,
            relative("error"),
            relative("made_here"),
            sums["signed"] / self.count / size if size else None,
            {k: v for k, v in rms.items() if v is not None} or None,
            shares if sums["error"] else None,
            sums["above"] / max(1.0, sums["active"]),
            sums["wrong"] / max(1.0, sums["silent"]),
            1 - float(self.fired.double().mean()),
            1 - float(self.active.double().mean()),
        )


@dataclass
class _Scores:
    """Right answers and squared output errors so far."""

    samples: int = 0
    labelled: int = 0
    ann_right: int = 0
    right: int = 0
    agreed: int = 0
    gap: float = 0.0
    size: float = 0.0

    def add(self, ann: list[Tensor], snn: list[Tensor], y: Tensor | None, classes: bool) -> None:
        """One batch; the outputs (B, ...) of both networks."""
        self.samples += len(ann[0])
        for wanted, got in zip(ann, snn, strict=True):
            self.gap += float(((got.double() - wanted.double()) ** 2).sum())
            self.size += float((wanted.double() ** 2).sum())
        if not classes:
            return
        wanted, got = ann[0].argmax(1).cpu(), snn[0].argmax(1).cpu()
        self.agreed += int((wanted == got).sum())
        if y is not None and are_classes(y):
            self.labelled += len(y)
            self.ann_right += int((wanted == y.cpu()).sum())
            self.right += int((got == y.cpu()).sum())


def decompose(
    net: Spiking,
    batches: Batches,
    *,
    steps: int,
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> Decomposition:
    """Divide the error of every layer of `net` after `steps` steps into its parts.

    `batches` gives (x (B, *input shape), labels (B,) or None); samples are numbered in that order
    from 0, as in `evaluate`. `progress(images done)` is called after each batch. Memory depends
    on the size of a batch only. Raises ConfigError where there are no images.
    """
    net = net.to(device=device)
    tallies = {name: _Tally() for name in net.graph.sites}
    scores, classes = _Scores(), answers_classes(net)
    for x, y in batches:
        x = x.to(device)
        ids = torch.arange(scores.samples, scores.samples + len(x), device=x.device)
        ann, snn, layers = divide(net, x, steps=steps, ids=ids)
        for name, layer in layers:
            tallies[name].add(layer)
        scores.add(ann, snn, y, classes)
        if progress is not None:
            progress(scores.samples)
    if not scores.samples:
        raise ConfigError("there are no images to diagnose on")
    known = scores.labelled
    return Decomposition(
        tuple(tally.result(name) for name, tally in tallies.items()),
        scores.samples,
        sqrt(scores.gap / scores.size) if scores.size else None,
        scores.ann_right / known if known else None,
        scores.right / known if known else None,
        scores.agreed / scores.samples if classes else None,
    )


def divide(
    net: Spiking, x: Tensor, *, steps: int, ids: Tensor
) -> tuple[list[Tensor], list[Tensor], Iterator[tuple[str, Divided]]]:
    """Divide the errors on one batch `x` (B, *input shape) of the samples numbered `ids` (B,).

    Returns the outputs of the source network and the mean outputs of `net`, (B, ...) each, and
    an iterator over the layers that forgets each when the next is asked for.
    """
    result, heard = listen(net, x, steps=steps, ids=ids)
    original, own = _original(net, x)
    layers = (
        (name, _layer(net, name, heard.pop(name), original, own, Keys(ids, site)))
        for site, name in enumerate(net.graph.sites, start=1)  # 0 is the input encoder's
    )
    outputs = [original[name] for name in net.graph.outputs]
    return outputs, [out[-1] for out in result.outputs], layers


def _original(net: Spiking, x: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The source network's outputs, activations and inputs of activations; and those inputs as
    the spiking network's own weights make them of the source network's activations."""
    inputs = [net.graph.by_name[name].inputs[0] for name in net.graph.sites]
    x = net.encoder.still(x)
    with torch.no_grad():
        original = run(net.graph, x, keep=[*net.graph.sites, *inputs])
        if not net.plan.weights:
            return original, original
        start = {name: original[name] for name in net.graph.sites}
        return original, run(net.body, x, start=start, keep=inputs)


def _layer(
    net: Spiking, name: str, heard: Heard, original: _Values, own: _Values, keys: Keys
) -> Divided:
    planned, neuron = net.plan.sites[name], net.neurons[name]
    source = net.graph.by_name[name].inputs[0]
    added = planned.added_up(heard.steps)
    current = own[source] if added is None else own[source] + added / heard.steps
    activation = original[name].double()
    silent = (original[source] < 0) & (activation == 0)
    cap = neuron.spikes_per_step * planned.threshold.double()
    settled = partial(steady, neuron, steps=heard.steps, keys=keys, schedule=net.schedule)
    parts = split_error(
        activation,
        cap,
        answer=settled(current),
        answer_to_mean=settled(heard.mean_current),
        output=heard.mean_output,
        wrong=silent & heard.fired,
    )
    return Divided(parts, activation, cap, silent, heard.fired)
