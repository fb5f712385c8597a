"""Weights refitted in closed form, so that a layer answers its spiking inputs as it should
(layer-wise weight calibration of Li et al. 2021, section 4.3, as least squares without training).

For a layer with weights W, bias b and mean spiking input x(t) over the first t steps, z(t) the
mean current that results and z the original network's:

    min over D of  sum over t, images and positions of  t^p |z - z(t) - D [x(t), 1]|^2  + r |D|^2

and [W, b] += D. What the neurons before a layer get wrong is in part a linear function of what
they send (clipping, late and uneven spikes), and that part is undone here. The error of a rate
falls as 1/t, so p = 2 lets early and late steps count alike and a larger `power` stays closer to
the original at late steps. r is `ridge` times the mean square of
an input, so that inputs that hardly vary keep their weights. No labels, no gradient descent.

What early spikes get wrong fades with t, but a changed weight acts for ever, and so turns into an
error at late steps. The network therefore takes on `strength` D, after all layers were fitted in
full. On a ResNet-20 the error of the logits at steps 16, 32 and 64 was .34, .20, .21 at strength
1, and .36, .19, .13 at 0.65.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from calibrate.base import CALIBRATORS, Context
from calibrate.correction import check_options, correct_potential
from calibrate.replay import Layer, Replay, means
from convsnn.graph import Graph, Node
from convsnn.graph.ops.weighted import split_padding
from convsnn.spiking.plan import Plan

SAMPLES = 256
FEWEST = 8
SPIKES = 1 << 31  # of all neurons, steps and images together: a replay keeps a bit for each
FIRST = 8  # before it too little has arrived in deep layers to fit anything to
WIDEST = 4608  # inputs of one output: beyond it only the bias is fitted


@CALIBRATORS.register("weights")
@dataclass(frozen=True)
class Weights:
    """Refits weights by least squares to the spikes that arrive, layer by layer, without labels.

    Follows a stage that sets thresholds. Fits the means over 8, 16, 32... up to `steps` (default:
    those of the conversion, 16 to 32) on the first `samples` images (default: 256, in large
    networks as few as 8); `strength` of the change is kept: less errs more at early steps and
    less at late ones. After each fit the layer's initial potentials are corrected as the stage
    `potential` does, for the mean of 8, 16... up to `potential` steps; 0 leaves them alone.
    """

    steps: Annotated[
        int | None,
        "time steps up to which means are fitted; none: those of the conversion, 16 to 32",
    ] = None
    samples: Annotated[
        int | None,
        "calibration images to simulate, the first; none: 256, fewer in large networks",
    ] = None
    ridge: Annotated[float, "how firmly weights are held: multiple of an input's mean square"] = (
        0.03
    )
    power: Annotated[
        float, "exponent of the step that its error is weighted by; more favours late steps"
    ] = 2.0
    strength: Annotated[float, "share of the change that is kept, above 0 and at most 1"] = 0.5
    potential: Annotated[
        int, "time steps for which initial potentials are corrected too; 0: not at all"
    ] = 32
    sweeps: Annotated[int, "corrections that are tried for each layer"] = 2

    def __post_init__(self) -> None:
        check_options(
            at=self.steps,
            samples=SAMPLES if self.samples is None else self.samples,
            sweeps=self.sweeps,
        )
        if not 0 < self.ridge < float("inf"):
            raise ValueError(f"ridge must be positive, not {self.ridge}")
        if not 0 <= self.power <= 8:
            raise ValueError(f"power must be between 0 and 8, not {self.power}")
        if not 0 < self.strength <= 1:
            raise ValueError(f"strength must be above 0 and at most 1, not {self.strength}")
        if self.potential < 0:
            raise ValueError(f"potential is a number of steps, not {self.potential}")

    def __call__(self, context: Context, plan: Plan) -> Plan:
        """See `Stage`."""
        steps = self.steps or min(max(context.steps, 16), 32)
        simulated = max(steps, self.potential)
        samples = self.samples or affordable(context.graph, simulated)
        replay = Replay(context, plan, simulated, samples)
        at = fitted_steps(steps)
        with torch.no_grad():
            for layer in replay.layers():
                for node in _fitted(context.graph, layer):
                    _refit(replay, layer, node, at=at, ridge=self.ridge, power=self.power)
                if self.potential:
                    late = fitted_steps(self.potential)
                    correct_potential(replay, layer, at=late, per="neuron", sweeps=self.sweeps)
        kept = _blended(context.graph, plan, replay.plan, self.strength)
        record = {"stage": "weights", **asdict(self), "steps": steps, "samples": samples}
        return kept.with_sites({}, record)


def affordable(graph: Graph, steps: int) -> int:
    """Images whose spikes over `steps` are kept at once in about a quarter of a gigabyte."""
    return max(FEWEST, min(SAMPLES, SPIKES // (steps * max(1, graph.neurons))))


def _blended(graph: Graph, before: Plan, after: Plan, strength: float) -> Plan:
    """`after`, with its weights moved back towards those of `before`, or of the graph."""
    known = {**graph.tensors, **before.weights}
    weights = {name: known[name].lerp(w, strength) for name, w in after.weights.items()}
    return replace(after, weights=weights)


def fitted_steps(steps: int) -> list[int]:
    """8, 16, 32... below `steps`, and `steps`."""
    found = []
    step = FIRST
    while step < steps:
        found.append(step)
        step *= 2
    return [*found, steps]


def _fitted(graph: Graph, layer: Layer) -> Iterator[Node]:
    """The nodes of a layer whose weights can be refitted: no other node shares their tensors."""
    uses = Counter(name for node in graph.nodes for name in node.inputs)
    for node in layer.nodes:
        known = node.op in ("conv", "linear") and graph.weight(node).dim() <= 4
        if known and all(uses[name] == 1 for name in node.inputs[1:]):
            yield node


def _passes_on(layer: Layer, node: Node) -> bool:
    """Whether the value of `node` reaches the end of the layer as it is, in sums at most."""
    name = node.name
    for later in layer.nodes[layer.nodes.index(node) + 1 :]:
        if name in later.inputs:
            if later.op not in ("add", "identity", "add_constant"):
                return False
            name = later.name
    return name == layer.end


@dataclass
class _Normal:
    """Normal equations of one layer, (groups, features, features) and (groups, features, outputs)
    of a group."""

    gram: Tensor
    moment: Tensor

    def solve(self, ridge: float, *, biased: bool) -> Tensor:
        """The ridge solution, (groups, features, outputs of a group)."""
        diagonal = self.gram.diagonal(dim1=1, dim2=2)
        weights = diagonal[:, :-1] if biased else diagonal
        scale = weights.mean() if weights.numel() else diagonal.mean()
        penalty = torch.full_like(diagonal, ridge * float(scale))
        if biased:
            penalty[:, -1] = 1e-9 * diagonal[:, -1]  # the bias moves freely
        # where nothing arrives at all, the smallest number keeps the system solvable
        penalty = penalty.clamp(min=torch.finfo(torch.float32).tiny)
        return torch.linalg.solve(self.gram + torch.diag_embed(penalty), self.moment)


def _refit(
    replay: Replay, layer: Layer, node: Node, *, at: Sequence[int], ridge: float, power: float
) -> None:
    """Add the ridge solution to the weight and the bias of `node`."""
    weight = replay.context.graph.weight(node)
    wide = weight[0].numel() > WIDEST
    biased = len(node.inputs) > 2
    place = layer.end if _passes_on(layer, node) else node.name
    if wide and not biased:
        return
    found: _Normal | None = None
    for spiking, original in replay.values(layer):
        source = spiking[node.inputs[0]]
        if len(source) == 1:
            return  # driven by the input itself: nothing is lost on the way
        for x, z, step in zip(means(source, at), means(spiking[place], at), at, strict=True):
            features = _features(node, weight, x, wide=wide, biased=biased)
            missing = _by_group(node, original[place][0] - z)
            part = _Normal(
                (features @ features.mT).double() * (step / FIRST) ** power,
                (features @ missing.mT).double() * (step / FIRST) ** power,
            )
            found = (
                part
                if found is None
                else _Normal(found.gram + part.gram, found.moment + part.moment)
            )
    if found is not None:
        change = found.solve(ridge, biased=biased).to(weight).mT  # (groups, outputs, features)
        _change(replay, node, change.flatten(0, 1), wide=wide, biased=biased)


def _change(replay: Replay, node: Node, change: Tensor, *, wide: bool, biased: bool) -> None:
    known = {**replay.context.graph.tensors, **replay.plan.weights}
    changed = {}
    if biased:
        changed[node.inputs[2]] = known[node.inputs[2]] + change[:, -1]
        change = change[:, :-1]
    if not wide:
        weight = known[node.inputs[1]]
        changed[node.inputs[1]] = weight + change.reshape(weight.shape)
    replay.set_weights(changed)


def _features(node: Node, weight: Tensor, x: Tensor, *, wide: bool, biased: bool) -> Tensor:
    """What every output of a group is a linear function of: (groups, features, places)."""
    groups = node.attrs.get("groups", 1)
    if node.op == "linear":
        rows = x.flatten(0, -2).mT[None]
    else:
        rows = _windows(node, weight, x).unflatten(1, (groups, -1)).movedim(0, 2).flatten(2)
    parts = [] if wide else [rows]
    if biased:
        parts.append(torch.ones_like(rows[:, :1]))
    return torch.cat(parts, 1)


def _windows(node: Node, weight: Tensor, x: Tensor) -> Tensor:
    """The inputs of each place of a convolution, (B, channels x kernel, places)."""
    padding, pads = split_padding(node.attrs["padding"])
    if pads is not None:
        x = F.pad(x, pads)
    if weight.dim() == 3:  # unfold knows images only
        x = x[:, :, None]
    return F.unfold(
        x,
        _pair(weight.shape[2:], 1),
        dilation=_pair(node.attrs["dilation"], 1),
        padding=_pair(padding, 0),
        stride=_pair(node.attrs["stride"], 1),
    )


def _pair(sizes: Sequence[int], missing: int) -> tuple[int, int]:
    """Two sizes, the first `missing` where there is one axis only."""
    return (sizes[0], sizes[1]) if len(sizes) == 2 else (missing, sizes[0])


def _by_group(node: Node, value: Tensor) -> Tensor:
    """(B, ...) as (groups, outputs of a group, places), places in the order of `_features`."""
    if node.op == "linear":
        return value.flatten(0, -2).mT[None]
    groups = node.attrs.get("groups", 1)
    return value.flatten(2).unflatten(1, (groups, -1)).movedim(0, 2).flatten(2)
